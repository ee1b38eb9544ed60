// What every rank must have alike, and failures that every rank must learn of.
#include "comm/agreement.h"

#include <gmock/gmock.h>

#include <mutex>

#include "comm/thread_comm.h"

namespace octet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// The status that each of num_ranks ranks gets from `body`.
std::vector<Status> statuses(int num_ranks, const std::function<Status(CommWorld&)>& body) {
  std::vector<Status> all(static_cast<size_t>(num_ranks));
  const Status run = ThreadWorld::run(num_ranks, [&](CommWorld& world) {
    all[static_cast<size_t>(world.rank())] = body(world);
    return ok_status();
  });
  EXPECT_TRUE(run.ok()) << run.message();
  return all;
}

TEST(CheckSame, EqualHashesPass) {
  for (const int num_ranks : {1, 2, 5}) {
    for (const Status& status : statuses(num_ranks, [](CommWorld& world) {
           return check_same(world, std::vector<NamedHash>{{"binary", 7}, {"config.json", 9}});
         })) {
      EXPECT_TRUE(status.ok()) << status.message();
    }
  }
}

TEST(CheckSame, NamesRanksAndWhatDiffers) {
  const auto all = statuses(4, [](CommWorld& world) {
    std::vector<NamedHash> mine = {{"binary", 7}, {"config.json", 9}, {"--tp", 2}};
    if (world.rank() == 2) mine[0].hash = mine[1].hash = 8;
    if (world.rank() == 3) mine.pop_back();
    return check_same(world, mine);
  });
  for (const Status& status : all) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
    EXPECT_EQ(status.message(), all[0].message());
    EXPECT_THAT(status.message(), AllOf(HasSubstr("rank 2 (host "), HasSubstr("rank 0 in: binary, config.json; rank 3"),
                                        HasSubstr("rank 0 in: --tp"), Not(HasSubstr("rank 1"))));
  }
}

TEST(Agree, FailureOfOneRankIsEveryonesAndNamesIt) {
  for (const Status& status : statuses(4, [](CommWorld& world) {
         return agree(world, world.rank() >= 2 ? invalid_input("shard {} is short", world.rank()) : ok_status());
       })) {
    EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
    EXPECT_THAT(status.message(), AllOf(HasSubstr("rank 2 (host "), HasSubstr("): shard 2 is short")));
  }
}

TEST(Agree, SameFailureEverywhereNamesNobody) {
  for (const Status& status : statuses(3, [](CommWorld& world) { return agree(world, failed("no such model")); })) {
    EXPECT_EQ(status.message(), "no such model");
  }
  EXPECT_TRUE(statuses(3, [](CommWorld& world) { return agree(world, ok_status()); })[2].ok());
}

}  // namespace
}  // namespace octet
