// SHA-256, by OpenSSL.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

using Sha256 = std::array<uint8_t, 32>;

Sha256 sha256(std::string_view bytes);

// 64 lower-case digits.
std::string to_hex(const Sha256& hash);

// Whether they are equal; the time does not tell how far.
bool equal_in_constant_time(const Sha256& a, const Sha256& b);

}  // namespace octet
