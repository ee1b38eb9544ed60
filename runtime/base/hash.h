// A stable 64-bit hash: the same bytes give the same value on every machine and in every version. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

inline constexpr uint64_t kHashStart = 0xcbf29ce484222325U;

// FNV-1a (Fowler, Noll, Vo), 64 bit. A hash of several pieces goes on from the one before: hash_bytes(b,
// hash_bytes(a)).
uint64_t hash_bytes(std::span<const std::byte> bytes, uint64_t before = kHashStart);
uint64_t hash_text(std::string_view text, uint64_t before = kHashStart);

// Hash of a file's bytes; kInvalidInput, naming the path, where it cannot be read.
Result<uint64_t> hash_file(const std::string& path);

}  // namespace octet
