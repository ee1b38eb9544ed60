// Executes one warp: 32 lanes in lockstep under an active mask.
//
// Divergence. A warp is a set of paths (program counter, lane mask) that partition its live lanes.
// The decoder lays the basic blocks of a function out in weak topological order (see cfg.hpp), so
// "run the path with the smallest program counter, and merge paths that meet" reconverges at the
// earliest point where lanes come together again - at the immediate post-dominator or before it.
// Instructions that need several lanes at once (shfl.sync, bar.sync, mma, ...) park a path until
// the missing lanes arrive, as threads with independent scheduling would (PTX ISA 3.1).
#pragma once

#include <memory>
#include <vector>

#include "tests/softgpu/ptx/ptx_ir.h"

namespace octet::softgpu {

class Block;

// Generic addresses of shared, local and kernel parameter memory are offsets from these bases;
// every other generic address is a global one (PTX ISA 5.1.8 and `cvta`).
inline constexpr u64 kSharedWindow = u64{1} << 60;
inline constexpr u64 kLocalWindow = u64{2} << 60;
inline constexpr u64 kParamWindow = u64{3} << 60;
inline constexpr u64 kWindowMask = u64{15} << 60;

enum class Access : u8 { kRead, kWrite, kAtomic };

struct Path {
  u32 pc = 0;
  u32 mask = 0;
  bool parked = false;  // waits at pc for other lanes
};

// One level of the call stack. All lanes of a call run to its end before the caller goes on.
struct Frame {
  const Code* code = nullptr;
  const CallSite* site = nullptr;        // where it was called from; null for a kernel
  std::unique_ptr<std::byte[]> storage;  // backs `registers`
  std::byte* registers = nullptr;        // 64-byte aligned
  u64 storage_bytes = 0;
  u64 local_base = 0;        // start of the frame in each lane's local memory
  Path path;                 // the running path
  std::vector<Path> others;  // the paths that wait
};

// A cp.async that has been issued but not waited for (PTX ISA 9.7.9.25).
struct AsyncCopy {
  unsigned lane;
  u32 group;
  u32 bytes, source_bytes;
  std::byte* destination;
  const std::byte* source;
};

class Warp {
 public:
  enum class State : u8 { kReady, kAtBarrier, kDone };

  void start(Block& block, unsigned index, const Code& code);

  // Runs until the warp is done, waits at a barrier, or has used up `slice` jumps.
  State run(u64 slice);
  State state() const { return state_; }
  void wait_at_barrier() { state_ = State::kAtBarrier; }
  void resume_from_barrier();

  // ---- for instruction handlers ----
  template <class T>
  T* reg(Slot slot) const {
    return reinterpret_cast<T*>(registers_ + slot);
  }
  u32& pred(Slot slot) const { return *reg<u32>(slot); }

  u32 active = 0;  // lanes the current instruction executes for
  u32 carry = 0;   // the condition code register CC.CF of each lane (PTX ISA 9.7.2)
  Block& block() const { return *block_; }
  unsigned index() const { return index_; }
  u32 live_lanes() const { return live_; }
  Frame& frame() { return frames_[depth_]; }
  u32 tid(unsigned axis, unsigned lane) const { return tid_[axis][lane]; }
  std::byte* local_memory(unsigned lane) { return local_.get() + u64{lane} * local_bytes_; }
  u64 local_bytes() const { return local_bytes_; }

  // Turns the address of each active lane into a host pointer; faults on any illegal access.
  void resolve(const Instr& in, Space space, const u64* address, unsigned bytes, Access access, std::byte** pointer);

  // cp.async bookkeeping: copies land when they are waited for, not before.
  void issue_copy(AsyncCopy copy) { copies_.push_back(copy); }
  u32& copy_group(unsigned lane) { return copy_group_[lane]; }
  void complete_copies(unsigned pending_groups);

  [[noreturn]] void fault(const Instr& in, int code, const std::string& what, unsigned lane) const;
  std::string where(const Instr& in) const;  // "PTX line 12 (file.cu:7): ld.global.u32 ..."
  std::string position() const;              // of the running path
  const Instr& current() const { return code_->instrs[frames_[depth_].path.pc]; }

  u64 lane_instructions = 0;  // executed so far

 private:
  void enter(const Code& code, const CallSite* site, u32 mask, u64 local_base);
  void load_frame();
  void jump(const Instr& in, u32 target);
  void branch_indexed(const Instr& in);
  void call(const Instr& in);
  void leave(const Instr& in);
  void exit_lanes(u32 mask);
  void reschedule();
  bool may_converge(const Instr& in);
  bool missing_lanes(const Instr& in, u32 mask, u32& missing) const;
  void rotate();
  [[noreturn]] void deadlock();

  std::byte* registers_ = nullptr;
  const Code* code_ = nullptr;
  Block* block_ = nullptr;
  unsigned index_ = 0;
  unsigned depth_ = 0;
  u32 live_ = 0;
  State state_ = State::kReady;
  bool out_of_order_ = false;  // see rotate()
  u32 turn_ = 0, quiet_slices_ = 0;
  std::vector<Frame> frames_;
  std::unique_ptr<std::byte[]> local_;
  u64 local_bytes_ = 0;
  std::vector<AsyncCopy> copies_;
  u32 copy_group_[kLanes] = {};
  u32 tid_[3][kLanes] = {};
  const struct Region* last_region_ = nullptr;
};

}  // namespace octet::softgpu
