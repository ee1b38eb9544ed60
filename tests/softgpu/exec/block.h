// A thread block, and the launch of a grid of blocks.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "tests/softgpu/cudart/memory.h"
#include "tests/softgpu/exec/race_detector.h"
#include "tests/softgpu/exec/warp.h"

namespace octet::softgpu {

// What all blocks of a kernel launch share.
struct Launch {
  const Code* code = nullptr;
  std::string kernel_name;  // demangled
  Dim3 grid, block;
  std::vector<std::byte> parameters;
  u32 static_shared_bytes = 0, dynamic_shared_bytes = 0;
  u32 reserved_shared_bytes = 0;  // for the system (cooperative groups), behind the rest
  std::shared_ptr<const MemoryMap> memory;
  u64 grid_id = 0;
  bool cooperative = false;
  u64 grid_workspace = 0;  // device address of the grid barrier of cooperative groups
  bool init_check = false;
  int race_check = 0;  // 0: off, 1: between warps, 2: also between lanes of a warp
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::atomic<bool> cancelled = false;
  std::atomic<u64> lane_instructions = 0;
};

class Block {
 public:
  explicit Block(Launch& launch) : launch_(launch) {}

  void start(u64 linear_index);
  // Runs every warp as far as possible; true if the block is done. Gives up the host thread
  // early if `bounded`, so that the blocks of a cooperative grid can wait for each other.
  bool run(bool bounded);

  // ---- for warps ----
  const Launch& launch() const { return launch_; }
  const Dim3& ctaid() const { return ctaid_; }
  unsigned threads() const { return threads_; }
  unsigned warp_count() const { return unsigned(warps_.size()); }
  std::byte* shared() { return shared_.data(); }
  u8* shared_initialized() { return shared_initialized_.empty() ? nullptr : shared_initialized_.data(); }
  u32 shared_bytes() const { return u32(shared_.size()); }
  u32 reserved_shared_offset() const { return shared_bytes() - launch_.reserved_shared_bytes; }
  RaceDetector* races() { return races_.get(); }

  // A warp's `lanes` arrive at a barrier (PTX ISA 9.7.13.1). `expected` is a number of threads,
  // 0 for all. Returns false if the warp must wait.
  struct Reduction {
    u32 count, any, all;
  };
  bool arrive(Warp& warp, unsigned barrier, u32 expected, u32 lanes, u32 predicate, bool wait);
  const Reduction& reduction(unsigned barrier) const { return barriers_[barrier].result; }
  void lanes_exited() { release_barriers(); }

 private:
  struct Barrier {
    u32 arrived = 0, expected = 0;
    Reduction pending{0, 0, 1}, result{0, 0, 1};
    std::vector<Warp*> waiting;
    std::vector<unsigned> participants;
  };
  void release_barriers();
  bool release_if_complete(Barrier& barrier);
  u32 live_threads() const;
  [[noreturn]] void deadlock() const;

  Launch& launch_;
  Dim3 ctaid_;
  unsigned threads_ = 0;
  std::vector<Warp> warps_;
  std::vector<std::byte> shared_;
  std::vector<u8> shared_initialized_;
  Barrier barriers_[16];
  std::unique_ptr<RaceDetector> races_;
};

// Executes all blocks of a launch on the host's threads; throws the first DeviceFault.
void execute(Launch& launch);

}  // namespace octet::softgpu
