#include "runtime/base/sha256.h"

#include <fmt/ranges.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "runtime/base/check.h"

namespace octet {

Sha256 sha256(std::string_view bytes) {
  Sha256 hash{};
  OCTET_CHECK(EVP_Digest(bytes.data(), bytes.size(), hash.data(), nullptr, EVP_sha256(), nullptr) == 1,
              "OpenSSL has no SHA-256");
  return hash;
}

std::string to_hex(const Sha256& hash) { return fmt::format("{:02x}", fmt::join(hash, "")); }

bool equal_in_constant_time(std::span<const std::byte, 32> a, std::span<const std::byte, 32> b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace octet
