// Ranks as threads: the collectives, what they count, and what a failing rank does to the others.
#include "comm/thread_comm.h"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "collectives_check.h"
#include "kernels/reference/reference_backend.h"

namespace octet {
namespace {

class ThreadCommTest : public testing::TestWithParam<int> {};

TEST_P(ThreadCommTest, CollectivesMoveEveryRow) {
  const Status status = ThreadWorld::run(GetParam(), [](CommWorld& world) {
    ReferenceBackend backend;
    return check_collectives(world, backend, 41U + static_cast<uint32_t>(world.size()));
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadCommTest, testing::Values(1, 2, 3, 4, 8));

TEST(ThreadComm, EveryRankRunsOnceAndKnowsItself) {
  std::array<std::atomic<int>, 4> runs{};
  const Status status = ThreadWorld::run(4, [&](CommWorld& world) {
    ++runs[static_cast<size_t>(world.rank())];
    return world.size() == 4 && world.local_size() == 4 && world.host().rank() == world.rank() ? ok_status()
                                                                                               : failed("lost");
  });
  EXPECT_TRUE(status.ok()) << status.message();
  for (const auto& count : runs) EXPECT_EQ(count, 1);
}

TEST(ThreadComm, FailingRankEndsThoseThatWaitForIt) {
  const Status status = ThreadWorld::run(3, [](CommWorld& world) {
    if (world.rank() == 1) return invalid_input("a bad shard");
    world.host().barrier();
    return ok_status();
  });
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_EQ(status.message(), "a bad shard");
}

TEST(ThreadComm, ThrowingRankEndsThoseThatWaitForIt) {
  const Status status = ThreadWorld::run(4, [](CommWorld& world) {
    const auto group = world.make_group(std::vector<int>{0, 1, 2, 3});
    for (int round = 0; round < 100; ++round) {
      if (world.rank() == 2 && round == 50) throw std::runtime_error("broken");
      const Tensor rows = Tensor::host(DType::kF32, {4, 16});
      const Tensor others = Tensor::host(DType::kF32, {4, 16});
      HostStream stream;
      group->all_to_all_v(rows.view, std::vector<int64_t>(4, 1), others.view, std::vector<int64_t>(4, 1), stream);
    }
    return ok_status();
  });
  EXPECT_EQ(status.code(), StatusCode::kFailed);
  EXPECT_EQ(status.message(), "rank 2: broken");
}

TEST(ThreadComm, CountsPayloadAndTimeByPhase) {
  std::atomic<const CommProgress*> waiting = nullptr;  // rank 1's
  const Status status = ThreadWorld::run(3, [&](CommWorld& world) {
    const auto group = world.make_group(std::vector<int>{0, 1, 2});
    const Tensor mine = Tensor::host(DType::kBF16, {world.rank() + 1, 100});
    const Tensor all = Tensor::host(DType::kBF16, {6, 100});
    HostStream stream;
    world.progress().set_place(5, Phase::kReduce);
    if (world.rank() == 1) waiting = &world.progress();
    if (world.rank() == 0) {
      while (waiting == nullptr || waiting.load()->report().place.kind != CollectiveKind::kAllGatherV) {
        std::this_thread::yield();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(11));
    }
    group->all_gather_v(mine.view, std::vector<int64_t>{1, 2, 3}, all.view, stream);
    world.progress().set_place(6, Phase::kDispatch);
    const std::vector<int64_t> rows = {1, 0, 1};  // nothing for rank 1
    const TensorView receive = all.view.slice_rows(0, world.rank() == 1 ? 0 : 3);
    group->all_to_all_v(Tensor::host(DType::kBF16, {2, 100}).view, rows, receive,
                        std::vector<int64_t>(3, world.rank() == 1 ? 0 : 1), stream);
    const auto totals = world.progress().totals();
    const PhaseTotals& reduce = totals[static_cast<size_t>(Phase::kReduce)];
    const PhaseTotals& dispatch = totals[static_cast<size_t>(Phase::kDispatch)];
    EXPECT_EQ(reduce.num_collectives, 1);
    EXPECT_EQ(reduce.bytes_sent, 2 * 200 * (world.rank() + 1));
    EXPECT_EQ(dispatch.bytes_sent, world.rank() == 1 ? 400 : 200);
    EXPECT_GT(reduce.nanoseconds, world.rank() == 1 ? 10'000'000 : 0);  // it waited for rank 0
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace
}  // namespace octet
