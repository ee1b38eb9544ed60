// CommProgress: where a rank is and what it waits for. The rank's compute thread writes it as it goes, the watchdog and
// the metrics read it from other threads without holding it up.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/seqlock.h"

namespace octet {

// What a collective is for. The model announces it; times and bytes are counted by it.
enum class Phase : uint8_t {
  kStart,           // start-up and shut-down
  kPlan,            // the step plan from rank 0; without a layer
  kGather,          // rows of the tp group
  kReduce,          // attention output over the tp group
  kDispatchCounts,  // who chose which experts, so how many rows the dispatch carries
  kDispatch,        // rows to the ranks of their experts
  kExpertReduce,    // expert outputs over the ranks that share an expert
  kCombine,         // expert outputs back home
  kLogits,          // logits or samples to rank 0
};
inline constexpr size_t kNumPhases = 9;

std::string_view phase_name(Phase phase);  // "dispatch counts"

// Phases that carry no rows of the model: their bytes are overhead, not payload.
constexpr bool is_metadata(Phase phase) {
  return phase == Phase::kStart || phase == Phase::kPlan || phase == Phase::kDispatchCounts;
}

enum class CollectiveKind : uint8_t {
  kNone,
  kBroadcast,
  kGather,
  kAllGatherV,
  kAllToAllV,
  kAllReduce,
  kReduceScatter,
  kConnect,  // a communicator is being made
};
inline constexpr CollectiveKind kLastCollectiveKind = CollectiveKind::kConnect;

std::string_view collective_name(CollectiveKind kind);  // "all_to_all_v"

inline constexpr int32_t kNoLayer = -1;

// A rank's place at one moment. Outside a collective `kind` is kNone and the fields behind it tell of the last one.
struct Place {
  uint64_t events = 0;  // grows with every sign of life of the compute thread; frozen while it hangs or waits
  int32_t layer = kNoLayer;
  Phase phase = Phase::kStart;
  bool idle = false;  // waits for work from outside, for as long as it takes
  CollectiveKind kind = CollectiveKind::kNone;
  uint32_t group = 0;                               // index into ProgressReport::groups
  uint64_t sequence = 0;                            // of the collective within its group, from 1
  uint64_t expected_bytes = 0, received_bytes = 0;  // from other ranks
  uint32_t expected_peers = 0, received_peers = 0;  // other ranks that send something, and those that are done
};

// One communicator of a rank.
struct GroupReport {
  uint64_t key = 0;          // the same on every member; differs between groups, also of the same members
  std::vector<int> members;  // world ranks
  uint64_t entered = 0;      // collectives of this group that the rank has entered
};

struct ProgressReport {
  Place place;
  std::vector<GroupReport> groups;
};

// "layer 3, dispatch: in all_to_all_v number 17 of ranks 0 1 2, received 96 of 128 bytes and 1 of 2 peers"
std::string describe(const ProgressReport& report);

// Buckets of the time of a collective: this one counts those that took longer than the bound before it, up to its own,
// in seconds; one more counts the longer ones.
inline constexpr std::array kCollectiveSeconds = {1e-5,  2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01,
                                                  0.025, 0.05,   0.1,  0.25, 0.5,    1.0,  2.5,  5.0,    10.0};

// What one phase has cost so far.
struct PhaseTotals {
  int64_t num_collectives = 0;
  int64_t nanoseconds = 0;  // inside collectives, waiting included; of asynchronous ones, the host's wait for them
  int64_t bytes_sent = 0;   // to other ranks, exact, without the transport's own headers
  std::array<int64_t, kCollectiveSeconds.size() + 1> num_by_time = {};  // collectives, by kCollectiveSeconds
};

// Thread safety: one thread at a time calls add_group, set_place, tick, set_idle and the scopes; report and totals may
// be called from any thread.
class CommProgress {
 public:
  CommProgress() = default;
  CommProgress(const CommProgress&) = delete;
  CommProgress& operator=(const CommProgress&) = delete;

  // The collectives that follow belong to this layer (kNoLayer: none) and phase.
  void set_place(int layer, Phase phase);
  // The same with the layer as it is.
  void set_phase(Phase phase) { set_place(place_.layer, phase); }
  // Long work outside collectives goes on (loading, a large step): keeps the collective limit from counting.
  void tick();
  // The rank waits for work from outside (true), or has found some: while it does, others may wait for its plan.
  void set_idle(bool idle);

  ProgressReport report() const;
  std::array<PhaseTotals, kNumPhases> totals() const;

  // A communicator's record; lives as long as this object.
  struct Group {
    uint32_t index = 0;
    uint64_t key = 0;
    std::vector<int> members;
    std::atomic<uint64_t> entered{0};
  };
  // Called by a transport when it makes a communicator of these world ranks.
  Group& add_group(std::span<const int> members);

 private:
  friend class CollectiveScope;
  friend class CollectiveQueue;

  struct Totals {
    std::atomic<int64_t> num_collectives{0}, nanoseconds{0}, bytes_sent{0};
    std::array<std::atomic<int64_t>, kCollectiveSeconds.size() + 1> num_by_time{};
  };

  void publish();
  void add_to_totals(Phase phase, std::chrono::nanoseconds elapsed, int64_t bytes_sent);

  Place place_;  // the writer's copy
  Seqlock<Place> published_;
  std::array<Totals, kNumPhases> totals_;
  mutable std::mutex groups_mutex_;  // guards the shape of groups_, not the counters
  std::deque<Group> groups_;
};

// A transport holds one for the time of a collective.
class CollectiveScope {
 public:
  // expected_bytes from expected_peers other ranks; 0 where the receiver cannot know.
  CollectiveScope(CommProgress& progress, CommProgress::Group& group, CollectiveKind kind, int64_t expected_bytes,
                  int expected_peers);
  ~CollectiveScope();
  CollectiveScope(const CollectiveScope&) = delete;
  CollectiveScope& operator=(const CollectiveScope&) = delete;

  void received(int64_t num_bytes, int num_peers);
  void sent(int64_t num_bytes) { bytes_sent_ += num_bytes; }

 private:
  CommProgress& progress_;
  std::chrono::steady_clock::time_point begin_;
  int64_t bytes_sent_ = 0;
};

}  // namespace octet
