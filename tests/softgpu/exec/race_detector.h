// Finds unordered conflicting accesses to shared memory.
//
// Each warp has a vector clock that barriers join; each byte of shared memory remembers when it
// was last written and read. An access races with an earlier one that the warp's clock does not
// cover. At level 2 the lanes of a warp are ordered only by bar.warp.sync and block barriers.
#pragma once

#include <optional>
#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

class RaceDetector {
 public:
  enum class Kind : u8 { kRead, kWrite, kAtomic };
  struct Conflict {
    Kind earlier;
    u32 thread;     // linear thread index of the earlier access
    u32 statement;  // of the earlier access
  };

  RaceDetector(int level, unsigned warps, u32 shared_bytes);

  // Records an access by `thread`; reports an earlier access it races with.
  std::optional<Conflict> access(Kind kind, u32 offset, u32 bytes, u32 thread, u32 statement);
  void join_warps(const std::vector<unsigned>& warps);
  void sync_warp(unsigned warp) { ++warp_phase_[warp]; }

 private:
  struct Event {
    u32 clock = 0;  // of its warp; 0: never
    u32 phase = 0;  // number of bar.warp.sync of its warp
    u32 thread = 0;
    u32 statement = 0;
    Kind kind = Kind::kRead;
  };
  struct Cell {
    Event write;
    std::vector<Event> reads;  // the last read of each warp since the write
  };
  bool ordered(const Event& earlier, u32 thread) const;

  int level_;
  std::vector<std::vector<u32>> clock_;  // clock_[w][v]: what warp w knows of warp v
  std::vector<u32> warp_phase_;
  std::vector<Cell> cells_;
};

}  // namespace octet::softgpu
