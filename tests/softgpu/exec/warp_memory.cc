// Address translation and memory checking.

#include <driver_types.h>

#include "tests/softgpu/exec/block.h"
#include "tests/softgpu/exec/warp.h"

namespace octet::softgpu {
namespace {

const char* name(Access access) {
  return access == Access::kRead ? "read" : access == Access::kWrite ? "write" : "atomic update";
}

RaceDetector::Kind race_kind(Access access) {
  return access == Access::kRead    ? RaceDetector::Kind::kRead
         : access == Access::kWrite ? RaceDetector::Kind::kWrite
                                    : RaceDetector::Kind::kAtomic;
}

const char* name(RaceDetector::Kind kind) {
  return kind == RaceDetector::Kind::kRead ? "read" : kind == RaceDetector::Kind::kWrite ? "written" : "updated";
}

// Smallest and largest address of a warp access, and all address bits that occur.
struct Extent {
  u64 lowest = ~u64{0}, highest = 0, bits = 0;
};

Extent extent_of(const u64* address, u32 active) {
  Extent e;
  for (unsigned l = 0; l < kLanes; ++l) {
    const bool on = active >> l & 1;
    e.lowest = std::min(e.lowest, on ? address[l] : ~u64{0});
    e.highest = std::max(e.highest, on ? address[l] : u64{0});
    e.bits |= on ? address[l] : u64{0};
  }
  return e;
}

// Lanes that are not active may have any offset, so this is not pointer arithmetic.
std::byte* at(std::byte* base, u64 offset) { return reinterpret_cast<std::byte*>(u64(base) + offset); }

unsigned first_lane(u32 mask) { return unsigned(std::countr_zero(mask)); }

// One checked access of one warp instruction.
class Resolver {
 public:
  Resolver(Warp& warp, const Instr& in, unsigned bytes, Access access)
      : warp_(warp), in_(in), bytes_(bytes), access_(access) {}

  void global(const u64* address, u32 lanes, std::byte** pointer, const Region*& last) const {
    const Extent e = extent_of(address, lanes);
    check_alignment(e, address, lanes);
    const MemoryMap& map = *warp_.block().launch().memory;
    if (!last || !last->contains(e.lowest, 1)) last = map.find(e.lowest);
    if (last && last->contains(e.lowest, bytes_) && last->contains(e.highest, bytes_)) {
      const u64 delta = u64(last->storage) - last->base;
      for (unsigned l = 0; l < kLanes; ++l) pointer[l] = reinterpret_cast<std::byte*>(address[l] + delta);
      check_region(*last, address, lanes);
      return;
    }
    for (unsigned l = 0; l < kLanes; ++l) {  // several allocations, or an error
      if (!(lanes >> l & 1)) continue;
      const Region* region = map.find(address[l]);
      if (!region || !region->contains(address[l], bytes_))
        fail(cudaErrorIllegalAddress,
             format("illegal %u-byte global %s: %s", bytes_, name(access_), map.describe(address[l]).c_str()), l);
      pointer[l] = region->at(address[l]);
      check_region(*region, address, 1u << l);
    }
  }

  void shared(const u64* offset, u32 lanes, std::byte** pointer) const {
    Block& block = warp_.block();
    const Extent e = extent_of(offset, lanes);
    check_alignment(e, offset, lanes);
    const u64 size = block.shared_bytes();
    if (e.highest > size || bytes_ > size - e.highest)
      for (unsigned l = 0; l < kLanes; ++l)
        if ((lanes >> l & 1) && (offset[l] > size || bytes_ > size - offset[l]))
          fail(cudaErrorIllegalAddress,
               format("illegal %u-byte shared %s at offset %lld: the block has %llu bytes of shared memory "
                      "(%u static + %u dynamic)",
                      bytes_, name(access_), (long long)offset[l], (unsigned long long)size,
                      block.launch().static_shared_bytes, block.launch().dynamic_shared_bytes),
               l);
    for (unsigned l = 0; l < kLanes; ++l) pointer[l] = at(block.shared(), offset[l]);
    if (block.races()) check_races(offset, lanes);
    if (u8* initialized = block.shared_initialized()) check_shared_initialized(initialized, offset, lanes);
  }

  void local(const u64* offset, u32 lanes, std::byte** pointer) const {
    const Extent e = extent_of(offset, lanes);
    check_alignment(e, offset, lanes);
    const u64 size = warp_.local_bytes();
    if (e.highest > size || bytes_ > size - e.highest)
      for (unsigned l = 0; l < kLanes; ++l)
        if ((lanes >> l & 1) && (offset[l] > size || bytes_ > size - offset[l]))
          fail(cudaErrorIllegalAddress,
               format("illegal %u-byte local %s at offset %lld of %llu", bytes_, name(access_), (long long)offset[l],
                      (unsigned long long)size),
               l);
    for (unsigned l = 0; l < kLanes; ++l) pointer[l] = at(warp_.local_memory(l), offset[l]);
  }

  void param(const u64* offset, u32 lanes, std::byte** pointer) const {
    const auto& parameters = warp_.block().launch().parameters;
    for (unsigned l = 0; l < kLanes; ++l) {
      if (!(lanes >> l & 1)) continue;
      if (offset[l] > parameters.size() || bytes_ > parameters.size() - offset[l])
        fail(cudaErrorIllegalAddress,
             format("illegal %u-byte parameter %s at offset %lld of %zu", bytes_, name(access_), (long long)offset[l],
                    parameters.size()),
             l);
      if (access_ != Access::kRead) fail(cudaErrorIllegalAddress, "write to a kernel parameter", l);
      pointer[l] = const_cast<std::byte*>(parameters.data()) + offset[l];
    }
  }

 private:
  [[noreturn]] void fail(int code, const std::string& what, unsigned lane) const { warp_.fault(in_, code, what, lane); }

  void check_alignment(const Extent& e, const u64* address, u32 lanes) const {
    if ((e.bits & (bytes_ - 1)) == 0) return;
    for (unsigned l = 0; l < kLanes; ++l)
      if ((lanes >> l & 1) && (address[l] & (bytes_ - 1)))
        fail(cudaErrorMisalignedAddress,
             format("misaligned %u-byte %s at 0x%llx", bytes_, name(access_), (unsigned long long)address[l]), l);
  }

  void check_region(const Region& region, const u64* address, u32 lanes) const {
    const Launch& launch = warp_.block().launch();
    if (region.read_only && access_ != Access::kRead)
      fail(cudaErrorIllegalAddress,
           format("write to constant memory at 0x%llx", (unsigned long long)address[first_lane(lanes)]),
           first_lane(lanes));
    if (!launch.init_check || !region.initialized) return;
    for (unsigned l = 0; l < kLanes; ++l) {
      if (!(lanes >> l & 1)) continue;
      if (access_ == Access::kWrite)
        region.mark_initialized(address[l], bytes_);
      else if (!region.is_initialized(address[l], bytes_))
        fail(cudaErrorLaunchFailure,
             format("%u-byte global %s of uninitialised memory: %s", bytes_, name(access_),
                    launch.memory->describe(address[l]).c_str()),
             l);
    }
  }

  void check_races(const u64* offset, u32 lanes) const {
    Block& block = warp_.block();
    for (unsigned l = 0; l < kLanes; ++l) {
      if (!(lanes >> l & 1)) continue;
      const auto conflict =
          block.races()->access(race_kind(access_), u32(offset[l]), bytes_, warp_.index() * kLanes + l, in_.statement);
      if (!conflict) continue;
      Instr earlier = in_;
      earlier.statement = conflict->statement;
      const Dim3& dim = block.launch().block;
      const u32 t = conflict->thread;
      fail(cudaErrorLaunchFailure,
           format("shared memory race: %u-byte %s at offset %llu, which thread (%u,%u,%u) has %s without a barrier "
                  "in between, at %s",
                  bytes_, name(access_), (unsigned long long)offset[l], t % dim.x, t / dim.x % dim.y,
                  t / (dim.x * dim.y), name(conflict->earlier), warp_.where(earlier).c_str()),
           l);
    }
  }

  void check_shared_initialized(u8* initialized, const u64* offset, u32 lanes) const {
    for (unsigned l = 0; l < kLanes; ++l) {
      if (!(lanes >> l & 1)) continue;
      if (access_ == Access::kWrite)
        std::memset(initialized + offset[l], 1, bytes_);
      else if (std::memchr(initialized + offset[l], 0, bytes_))
        fail(cudaErrorLaunchFailure,
             format("%u-byte shared %s of uninitialised memory at offset %llu", bytes_, name(access_),
                    (unsigned long long)offset[l]),
             l);
    }
  }

  Warp& warp_;
  const Instr& in_;
  unsigned bytes_;
  Access access_;
};

}  // namespace

void Warp::resolve(const Instr& in, Space space, const u64* address, unsigned bytes, Access access,
                   std::byte** pointer) {
  const Resolver resolver(*this, in, bytes, access);
  switch (space) {
    case Space::kGlobal:
    case Space::kConst:
      return resolver.global(address, active, pointer, last_region_);
    case Space::kShared:
      return resolver.shared(address, active, pointer);
    case Space::kLocal:
      return resolver.local(address, active, pointer);
    case Space::kParam:
      return resolver.param(address, active, pointer);
    case Space::kGeneric:
      break;
  }
  // Generic addresses: sort the lanes by window.
  for (u32 rest = active; rest;) {
    const u64 window = address[first_lane(rest)] & kWindowMask;
    u32 same = 0;
    u64 offset[kLanes];
    for (unsigned l = 0; l < kLanes; ++l) {
      same |= u32((address[l] & kWindowMask) == window) << l;
      offset[l] = address[l] - window;
    }
    same &= rest;
    rest &= ~same;
    if (window == kSharedWindow)
      resolver.shared(offset, same, pointer);
    else if (window == kLocalWindow)
      resolver.local(offset, same, pointer);
    else if (window == kParamWindow)
      resolver.param(offset, same, pointer);
    else
      resolver.global(address, same, pointer, last_region_);
  }
}

}  // namespace octet::softgpu
