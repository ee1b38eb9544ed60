#include "tests/softgpu/exec/race_detector.h"

#include <algorithm>

namespace octet::softgpu {

RaceDetector::RaceDetector(int level, unsigned warps, u32 shared_bytes)
    : level_(level), clock_(warps, std::vector<u32>(warps, 0)), warp_phase_(warps, 0), cells_(shared_bytes) {
  for (unsigned w = 0; w < warps; ++w) clock_[w][w] = 1;
}

bool RaceDetector::ordered(const Event& earlier, u32 thread) const {
  if (earlier.clock == 0 || earlier.thread == thread) return true;
  const unsigned warp = thread / kLanes, earlier_warp = earlier.thread / kLanes;
  if (warp != earlier_warp) return earlier.clock <= clock_[warp][earlier_warp];
  return level_ < 2 || earlier.clock < clock_[warp][warp] || earlier.phase < warp_phase_[warp];
}

std::optional<RaceDetector::Conflict> RaceDetector::access(Kind kind, u32 offset, u32 bytes, u32 thread,
                                                           u32 statement) {
  const unsigned warp = thread / kLanes;
  const Event now{clock_[warp][warp], warp_phase_[warp], thread, statement, kind};
  for (u32 i = offset; i < offset + bytes; ++i) {
    Cell& cell = cells_[i];
    const auto conflict = [](const Event& e) { return Conflict{e.kind, e.thread, e.statement}; };
    const bool both_atomic = kind == Kind::kAtomic && cell.write.kind == Kind::kAtomic;
    if (!both_atomic && !ordered(cell.write, thread)) return conflict(cell.write);
    if (kind == Kind::kRead) {
      const auto same = std::ranges::find_if(
          cell.reads, [&](const Event& e) { return level_ < 2 ? e.thread / kLanes == warp : e.thread == thread; });
      if (same != cell.reads.end())
        *same = now;
      else
        cell.reads.push_back(now);
    } else {
      for (const Event& read : cell.reads)
        if (!ordered(read, thread)) return conflict(read);
      cell.reads.clear();
      cell.write = now;
    }
  }
  return std::nullopt;
}

void RaceDetector::join_warps(const std::vector<unsigned>& warps) {
  std::vector<u32> joined(clock_.size(), 0);
  for (const unsigned w : warps)
    for (std::size_t v = 0; v < joined.size(); ++v) joined[v] = std::max(joined[v], clock_[w][v]);
  for (const unsigned w : warps) {
    clock_[w] = joined;
    ++clock_[w][w];
  }
}

}  // namespace octet::softgpu
