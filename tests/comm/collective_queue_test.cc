// What a rank that enqueues collectives shows of itself: when it has entered them, and which it waits for.
#include "comm/collective_queue.h"

#include <gmock/gmock.h>

#include <set>

namespace octet {
namespace {

using testing::HasSubstr;

constexpr int kMembers[] = {0, 1, 2};

class CollectiveQueueTest : public testing::Test {
 protected:
  // The model announces a place and enqueues a collective that ends when `number` is put into done_.
  CollectiveQueue::Collective at(int layer, Phase phase, int number) {
    progress_.set_place(layer, phase);
    return queue_.at_this_place({&group_, CollectiveKind::kAllReduce, 100 + number, 2, 10 + number, kNoLayer,
                                 Phase::kStart, [this, number] { return done_.contains(number); }});
  }

  CommProgress progress_;
  CommProgress::Group& group_ = progress_.add_group(kMembers);
  CollectiveQueue queue_{progress_};
  std::set<int> done_;
};

TEST_F(CollectiveQueueTest, EnteredWhenEnqueuedAndComputingUntilTheHostWaits) {
  const uint64_t events = progress_.report().place.events;
  queue_.enter(at(3, Phase::kReduce, 1));
  queue_.enter(at(3, Phase::kCombine, 2));
  const ProgressReport report = progress_.report();
  EXPECT_EQ(report.groups[0].entered, 2);
  EXPECT_EQ(report.place.kind, CollectiveKind::kNone);
  EXPECT_GT(report.place.events, events);
}

TEST_F(CollectiveQueueTest, TheWaitingHostIsInTheOldestThatIsNotDone) {
  queue_.enter(at(3, Phase::kReduce, 1));
  queue_.enter(at(4, Phase::kCombine, 2));
  progress_.set_place(kNoLayer, Phase::kLogits);  // where the host has come by now
  EXPECT_TRUE(queue_.follow());
  EXPECT_THAT(describe(progress_.report()), HasSubstr("layer 3, reduce: in all_reduce number 1 of ranks 0 1 2"));
  EXPECT_THAT(describe(progress_.report()), HasSubstr("received 0 of 101 bytes and 0 of 2 peers"));
  done_ = {1};
  EXPECT_TRUE(queue_.follow());
  EXPECT_THAT(describe(progress_.report()), HasSubstr("layer 4, combine: in all_reduce number 2 of ranks 0 1 2"));
  EXPECT_THAT(queue_.describe_oldest(), HasSubstr("layer 4, combine"));
  done_ = {1, 2};
  EXPECT_FALSE(queue_.follow());
  EXPECT_EQ(progress_.report().place.kind, CollectiveKind::kNone);
  EXPECT_EQ(progress_.report().place.phase, Phase::kLogits);
  EXPECT_EQ(queue_.describe_oldest(), "");
}

// So that the watchdog's limit counts from the last thing that moved.
TEST_F(CollectiveQueueTest, AWaitThatSeesNothingMoveIsNoSignOfLife) {
  queue_.enter(at(0, Phase::kDispatch, 1));
  queue_.enter(at(0, Phase::kDispatch, 2));
  queue_.follow();
  const uint64_t events = progress_.report().place.events;
  for (int i = 0; i < 5; ++i) queue_.follow();
  EXPECT_EQ(progress_.report().place.events, events);
  done_ = {1};
  queue_.follow();
  EXPECT_GT(progress_.report().place.events, events);
}

TEST_F(CollectiveQueueTest, BytesAreCountedUnderThePhaseOfTheEnqueuing) {
  queue_.enter(at(0, Phase::kReduce, 1));
  queue_.enter(at(0, Phase::kCombine, 2));
  progress_.set_phase(Phase::kLogits);
  done_ = {1, 2};
  queue_.follow();
  const auto totals = progress_.totals();
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kReduce)].bytes_sent, 11);
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kCombine)].bytes_sent, 12);
  EXPECT_EQ(totals[static_cast<size_t>(Phase::kLogits)].num_collectives, 0);
}

// A captured step's collectives are entered by every replay, under the place of the capture.
TEST_F(CollectiveQueueTest, OneCollectiveIsEnteredAgainWithTheNextNumber) {
  const CollectiveQueue::Collective captured = at(7, Phase::kCombine, 1);
  done_ = {1};
  for (int replay = 0; replay < 3; ++replay) {
    progress_.set_place(kNoLayer, Phase::kPlan);
    queue_.enter(captured);
    EXPECT_FALSE(queue_.follow());
  }
  EXPECT_EQ(progress_.report().groups[0].entered, 3);
  EXPECT_EQ(progress_.totals()[static_cast<size_t>(Phase::kCombine)].num_collectives, 3);
  EXPECT_THAT(queue_.describe_next(captured), HasSubstr("layer 7, combine: in all_reduce number 4"));
}

}  // namespace
}  // namespace octet
