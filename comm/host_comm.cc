#include "comm/host_comm.h"

#include <cstdint>
#include <cstring>

namespace octet {

std::vector<std::vector<std::byte>> HostComm::all_gather(std::span<const std::byte> mine) {
  constexpr int kRoot = 0;
  std::vector<std::vector<std::byte>> parts = gather(mine, kRoot);
  std::vector<std::byte> packed;  // of each part: its size, then its bytes
  for (const std::vector<std::byte>& part : parts) {
    const uint64_t size = part.size();
    const auto header = std::as_bytes(std::span(&size, 1));
    packed.insert(packed.end(), header.begin(), header.end());
    packed.insert(packed.end(), part.begin(), part.end());
  }
  broadcast(packed, kRoot);
  if (rank() == kRoot) return parts;
  std::span<const std::byte> rest = packed;
  for (int i = 0; i < size(); ++i) {
    uint64_t size = 0;
    std::memcpy(&size, rest.data(), sizeof(size));
    const auto part = rest.subspan(sizeof(size), size);
    parts.emplace_back(part.begin(), part.end());
    rest = rest.subspan(sizeof(size) + size);
  }
  return parts;
}

void HostComm::barrier() {
  constexpr int kRoot = 0;
  gather({}, kRoot);
  std::vector<std::byte> nothing;
  broadcast(nothing, kRoot);
}

}  // namespace octet
