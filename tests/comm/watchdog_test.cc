// Watchdogs of ranks that are threads of this process: what they do while all is well. watchdog_job_test.cc has the
// rest.
#include "comm/watchdog.h"

#include <gmock/gmock.h>

#include <thread>

#include "comm/thread_comm.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::Lt;
using testing::SizeIs;

TEST(Watchdog, HearsOfEveryRankWhileItWorksAndAfterOthersLeft) {
  const Status status = ThreadWorld::run(4, [](CommWorld& world) -> Status {
    WatchdogOptions options;
    options.interval = milliseconds(10);
    options.limits = {milliseconds(20'000), milliseconds(20'000)};
    auto watchdog = Watchdog::start(world, options);
    if (!watchdog.ok()) return watchdog.status();
    for (int round = 0; round < 20; ++round) {
      world.progress().set_place(round, Phase::kReduce);
      world.host().barrier();
      std::this_thread::sleep_for(milliseconds(10));
      EXPECT_THAT((*watchdog)->heartbeat_ages(), AllOf(SizeIs(4), Each(Lt(10.0))));
    }
    if (world.rank() == 2) watchdog->reset();
    world.host().barrier();
    std::this_thread::sleep_for(milliseconds(400));  // longer than a loss is forgiven
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(Watchdog, LimitBelowTwoIntervalsIsRefused) {
  const Status status = ThreadWorld::run(2, [](CommWorld& world) {
    WatchdogOptions options;
    options.limits.silence = milliseconds(900);
    return Watchdog::start(world, options).status();
  });
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_EQ(status.message(), "heartbeat limit 900 ms: must be at least two intervals of 500 ms");
}

TEST(Watchdog, Rank0IsReachedWhereItIsTold) {
  for (const char* address : {"lo", "127.0.0.1", "localhost"}) {
    const Status status = ThreadWorld::run(3, [&](CommWorld& world) {
      WatchdogOptions options;
      options.address = address;
      return Watchdog::start(world, options).status();
    });
    EXPECT_TRUE(status.ok()) << address << ": " << status.message();
  }
}

TEST(Watchdog, AloneItLeavesAtOnce) {
  const Status status = ThreadWorld::run(1, [](CommWorld& world) -> Status {
    const auto watchdog = Watchdog::start(world, {});
    if (!watchdog.ok()) return watchdog.status();
    EXPECT_THAT((*watchdog)->heartbeat_ages(), ElementsAre(0.0));
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace octet
