// SHA-256, by OpenSSL.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace octet {

using Sha256 = std::array<uint8_t, 32>;

Sha256 sha256(std::string_view bytes);

// 64 lower-case digits.
std::string to_hex(const Sha256& hash);

// Whether two secrets, or hashes of them, are equal; the time does not tell how far.
bool equal_in_constant_time(std::span<const std::byte, 32> a, std::span<const std::byte, 32> b);
inline bool equal_in_constant_time(const Sha256& a, const Sha256& b) {
  return equal_in_constant_time(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

}  // namespace octet
