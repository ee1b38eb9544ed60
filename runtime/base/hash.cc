#include "runtime/base/hash.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace octet {

uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t before) {
  uint64_t hash = before;
  for (const std::byte byte : bytes) {
    hash ^= static_cast<uint64_t>(byte);
    hash *= 0x100000001b3U;
  }
  return hash;
}

uint64_t hash_text(std::string_view text, uint64_t before) {
  return hash_bytes(std::as_bytes(std::span(text)), before);
}

Result<uint64_t> hash_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) return invalid_input("{}: {}", path, std::strerror(errno));
  std::vector<std::byte> block(size_t{1} << 16);
  uint64_t hash = kHashStart;
  while (const size_t num_read = std::fread(block.data(), 1, block.size(), file.get())) {
    hash = hash_bytes(std::span(block).first(num_read), hash);
  }
  if (std::ferror(file.get()) != 0) return invalid_input("{}: {}", path, std::strerror(errno));
  return hash;
}

}  // namespace octet
