#include "runtime/base/random_bytes.h"

#include <fmt/ranges.h>
#include <sys/random.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/base/check.h"

namespace octet {

void fill_random(std::span<std::byte> bytes) {
  ssize_t drawn = 0;
  do {
    drawn = getrandom(bytes.data(), bytes.size(), 0);
  } while (drawn < 0 && errno == EINTR);
  OCTET_CHECK(drawn == std::ssize(bytes), "getrandom: {}", std::strerror(errno));
}

std::string random_hex(size_t num_bytes) {
  std::vector<uint8_t> bytes(num_bytes);
  fill_random(std::as_writable_bytes(std::span(bytes)));
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace octet
