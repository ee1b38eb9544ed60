// Device memory: who owns which address, and where the bytes really are.
//
// A device pointer is an address in a reserved, inaccessible range, so that host code that
// dereferences it crashes as it would with a real GPU. The bytes live at Region::storage.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

// One allocation.
struct Region {
  enum class Kind : u8 { kDevice, kManaged, kPinnedHost, kModule };
  u64 base = 0, end = 0;
  std::byte* storage = nullptr;
  u8* initialized = nullptr;  // one flag per byte, if SOFTGPU_INITCHECK is set
  int device = 0;
  Kind kind = Kind::kDevice;
  bool read_only = false;

  bool contains(u64 address, u64 bytes) const { return address >= base && address <= end && bytes <= end - address; }
  std::byte* at(u64 address) const { return storage + (address - base); }
  void mark_initialized(u64 address, u64 bytes) const {
    if (initialized) std::memset(initialized + (address - base), 1, bytes);
  }
  bool is_initialized(u64 address, u64 bytes) const {
    return !initialized || !std::memchr(initialized + (address - base), 0, bytes);
  }
};

// An immutable picture of all allocations; a kernel keeps the one it was launched with.
class MemoryMap {
 public:
  explicit MemoryMap(std::vector<Region> regions) : regions_(std::move(regions)) {}
  const Region* find(u64 address) const;
  // Says how `address` relates to the allocations around it.
  std::string describe(u64 address) const;

 private:
  std::vector<Region> regions_;  // sorted by base
};

// All memory of all virtual devices.
class Memory {
 public:
  static Memory& instance();

  // Returns 0 if the device has no room left.
  u64 allocate_device(int device, u64 bytes, Region::Kind kind, bool read_only = false);
  bool free_device(u64 address);
  void add_host(void* pointer, u64 bytes, Region::Kind kind, int device);
  bool remove_host(const void* pointer);

  std::shared_ptr<const MemoryMap> snapshot();
  u64 total_bytes() const { return total_bytes_; }
  u64 free_bytes(int device);

 private:
  struct Arena {
    u64 base = 0;
    std::byte* storage = nullptr;
    u8* initialized = nullptr;
    u64 next = 0;  // where the search for room starts: delays reuse of freed memory
    u64 used = 0;
    std::map<u64, u64> blocks;  // offset -> size, both including the red zone
  };
  Memory();
  Arena& arena(int device);
  void publish();

  std::mutex mutex_;
  u64 total_bytes_;
  std::map<int, Arena> arenas_;
  std::map<u64, Region> regions_;
  std::shared_ptr<const MemoryMap> map_;
};

}  // namespace octet::softgpu
