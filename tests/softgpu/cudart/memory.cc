#include "tests/softgpu/cudart/memory.h"

#include <sys/mman.h>

#include <algorithm>

namespace octet::softgpu {
namespace {

constexpr u64 kAlignment = 512;  // of cudaMalloc
constexpr u64 kRedZone = 512;    // unowned bytes after each allocation

void* reserve(u64 bytes, int protection) {
  void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::runtime_error("softgpu: cannot reserve address space");
  return p;
}

}  // namespace

const Region* MemoryMap::find(u64 address) const {
  auto it = std::ranges::upper_bound(regions_, address, {}, &Region::base);
  if (it == regions_.begin()) return nullptr;
  --it;
  return address < it->end ? &*it : nullptr;
}

std::string MemoryMap::describe(u64 address) const {
  if (const Region* r = find(address))
    return format("0x%llx is %llu bytes into the %llu-byte allocation at 0x%llx", (unsigned long long)address,
                  (unsigned long long)(address - r->base), (unsigned long long)(r->end - r->base),
                  (unsigned long long)r->base);
  const auto above = std::ranges::upper_bound(regions_, address, {}, &Region::base);
  std::string text = format("0x%llx is in no live allocation", (unsigned long long)address);
  if (address < 4096) return text + " (null pointer?)";
  if (above != regions_.begin()) {
    const Region& r = *std::prev(above);
    text +=
        format("; %llu bytes past the end of the %llu-byte allocation at 0x%llx", (unsigned long long)(address - r.end),
               (unsigned long long)(r.end - r.base), (unsigned long long)r.base);
  }
  if (above != regions_.end())
    text +=
        format("; %llu bytes before the %llu-byte allocation at 0x%llx", (unsigned long long)(above->base - address),
               (unsigned long long)(above->end - above->base), (unsigned long long)above->base);
  return text;
}

Memory& Memory::instance() {
  static Memory& memory = *new Memory;  // never destroyed: host threads may outlive main
  return memory;
}

Memory::Memory()
    : total_bytes_(u64(environment("SOFTGPU_MEMORY_MB", 8192)) << 20),
      map_(std::make_shared<MemoryMap>(std::vector<Region>{})) {}

Memory::Arena& Memory::arena(int device) {
  Arena& a = arenas_[device];
  if (!a.storage) {
    a.base = u64(reserve(total_bytes_, PROT_NONE));
    a.storage = static_cast<std::byte*>(reserve(total_bytes_, PROT_READ | PROT_WRITE));
    if (environment("SOFTGPU_INITCHECK", 0))
      a.initialized = static_cast<u8*>(reserve(total_bytes_, PROT_READ | PROT_WRITE));
  }
  return a;
}

u64 Memory::allocate_device(int device, u64 bytes, Region::Kind kind, bool read_only) {
  std::lock_guard lock(mutex_);
  Arena& a = arena(device);
  const u64 size = round_up(bytes, kAlignment) + kRedZone;
  // Next fit, wrapping around once.
  const auto find_room = [&](u64 from) -> u64 {
    u64 at = from;
    for (auto it = a.blocks.lower_bound(from); it != a.blocks.end(); ++it) {
      if (it->first - at >= size) return at;
      at = it->first + it->second;
    }
    return total_bytes_ - at >= size && at <= total_bytes_ ? at : ~u64{0};
  };
  u64 offset = find_room(a.next);
  if (offset == ~u64{0}) offset = find_room(0);
  if (offset == ~u64{0}) return 0;
  a.blocks[offset] = size;
  a.next = offset + size;
  a.used += size;
  const u64 address = a.base + offset;
  regions_[address] = {
      address, address + bytes, a.storage + offset, a.initialized ? a.initialized + offset : nullptr, device,
      kind,    read_only};
  publish();
  return address;
}

bool Memory::free_device(u64 address) {
  std::lock_guard lock(mutex_);
  const auto region = regions_.find(address);
  if (region == regions_.end() || region->second.kind == Region::Kind::kPinnedHost) return false;
  Arena& a = arenas_[region->second.device];
  const auto block = a.blocks.find(address - a.base);
  if (block == a.blocks.end()) return false;
  // Give the pages back (they read as zero and uninitialised when they are used again).
  const u64 first = round_up(block->first, 4096), last = (block->first + block->second) / 4096 * 4096;
  if (first < last) {
    madvise(a.storage + first, last - first, MADV_DONTNEED);
    if (a.initialized) madvise(a.initialized + first, last - first, MADV_DONTNEED);
  }
  if (a.initialized) std::memset(a.initialized + block->first, 0, std::min(block->second, u64{8192}));
  if (a.initialized && block->second > 8192) std::memset(a.initialized + block->first + block->second - 4096, 0, 4096);
  a.used -= block->second;
  a.blocks.erase(block);
  regions_.erase(region);
  publish();
  return true;
}

void Memory::add_host(void* pointer, u64 bytes, Region::Kind kind, int device) {
  std::lock_guard lock(mutex_);
  const u64 base = u64(pointer);
  regions_[base] = {base, base + bytes, static_cast<std::byte*>(pointer), nullptr, device, kind, false};
  publish();
}

bool Memory::remove_host(const void* pointer) {
  std::lock_guard lock(mutex_);
  const auto it = regions_.find(u64(pointer));
  if (it == regions_.end() || it->second.kind == Region::Kind::kDevice || it->second.kind == Region::Kind::kModule)
    return false;
  regions_.erase(it);
  publish();
  return true;
}

std::shared_ptr<const MemoryMap> Memory::snapshot() {
  std::lock_guard lock(mutex_);
  return map_;
}

u64 Memory::free_bytes(int device) {
  std::lock_guard lock(mutex_);
  return total_bytes_ - arena(device).used;
}

void Memory::publish() {
  std::vector<Region> regions;
  regions.reserve(regions_.size());
  for (const auto& [base, region] : regions_) regions.push_back(region);
  map_ = std::make_shared<MemoryMap>(std::move(regions));
}

}  // namespace octet::softgpu
