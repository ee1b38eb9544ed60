#include "comm/handshake.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/pack.h"
#include "runtime/base/random_bytes.h"
#include "runtime/base/sha256.h"

namespace octet {
namespace {

// `side` tells the two ends' proofs apart.
Bytes32 prove(const Bytes32& secret, std::string_view side, const Bytes32& challenge, int rank, const Bytes32& number) {
  const std::vector<std::byte> said =
      Packer().text(side).number(static_cast<uint64_t>(rank)).raw(challenge).raw(number).take();
  Bytes32 proof{};
  unsigned size = 0;
  const unsigned char* done = HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                                   reinterpret_cast<const unsigned char*>(said.data()), said.size(),
                                   reinterpret_cast<unsigned char*>(proof.data()), &size);
  OCTET_CHECK(done != nullptr && size == proof.size(), "HMAC-SHA256 of {} bytes", size);
  return proof;
}

Status damaged() { return failed("a damaged message"); }

}  // namespace

Bytes32 draw_random() {
  Bytes32 bytes{};
  fill_random(bytes);
  return bytes;
}

Hello make_hello(const Bytes32& secret, const Bytes32& challenge, int rank, const Bytes32& number) {
  return {rank, number, prove(secret, "octet rank calls", challenge, rank, number)};
}

Bytes32 make_welcome(const Bytes32& secret, const Bytes32& challenge, const Hello& hello) {
  return prove(secret, "octet rank 0 answers", challenge, hello.rank, hello.number);
}

bool is_genuine(const Hello& hello, const Bytes32& secret, const Bytes32& challenge) {
  return equal_in_constant_time(hello.proof, make_hello(secret, challenge, hello.rank, hello.number).proof);
}

bool is_genuine_welcome(const Bytes32& welcome, const Bytes32& secret, const Bytes32& challenge, const Hello& hello) {
  return equal_in_constant_time(welcome, make_welcome(secret, challenge, hello));
}

std::vector<std::byte> pack_hello(const Hello& hello) {
  return Packer().number(static_cast<uint64_t>(hello.rank)).raw(hello.number).raw(hello.proof).take();
}

std::vector<std::byte> pack_bytes32(const Bytes32& bytes) { return {bytes.begin(), bytes.end()}; }

Result<Hello> unpack_hello(std::span<const std::byte> payload) {
  Unpacker unpacker(payload);
  Hello hello;
  const uint64_t rank = unpacker.number();
  const auto number = unpacker.raw(hello.number.size()), proof = unpacker.raw(hello.proof.size());
  if (!unpacker.ok() || !unpacker.at_end() || rank > INT32_MAX) return damaged();
  hello.rank = static_cast<int>(rank);
  std::ranges::copy(number, hello.number.begin());
  std::ranges::copy(proof, hello.proof.begin());
  return hello;
}

Result<Bytes32> unpack_bytes32(std::span<const std::byte> payload) {
  Bytes32 bytes{};
  if (payload.size() != bytes.size()) return damaged();
  std::ranges::copy(payload, bytes.begin());
  return bytes;
}

}  // namespace octet
