#include "comm/host_comm.h"

#include "runtime/base/check.h"
#include "runtime/base/pack.h"

namespace octet {

std::vector<std::vector<std::byte>> HostComm::all_gather(std::span<const std::byte> mine) {
  constexpr int kRoot = 0;
  std::vector<std::vector<std::byte>> parts = gather(mine, kRoot);
  Packer packer;
  for (const std::vector<std::byte>& part : parts) packer.block(part);
  std::vector<std::byte> packed = packer.take();
  broadcast(packed, kRoot);
  if (rank() == kRoot) return parts;
  Unpacker unpacker(packed);
  for (int i = 0; i < size(); ++i) {
    const auto part = unpacker.block();
    parts.emplace_back(part.begin(), part.end());
  }
  OCTET_CHECK(unpacker.ok() && unpacker.at_end(), "{} bytes of {} ranks", packed.size(), size());
  return parts;
}

void HostComm::barrier() {
  constexpr int kRoot = 0;
  gather({}, kRoot);
  std::vector<std::byte> nothing;
  broadcast(nothing, kRoot);
}

}  // namespace octet
