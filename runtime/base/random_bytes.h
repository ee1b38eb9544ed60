// Random bytes of the system, that nobody can foretell: for secrets and for names that must not be guessed.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace octet {

// At most 256 bytes, which the system gives at once. Thread-safe.
void fill_random(std::span<std::byte> bytes);

// So many random bytes, at most 256, as lower-case digits, two a byte. Thread-safe.
std::string random_hex(size_t num_bytes);

}  // namespace octet
