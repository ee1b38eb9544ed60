// How two watchdogs make sure of each other. Both know the job's secret, and neither ever says it: each answers a
// number that the other has just drawn with a keyed hash of it (HMAC-SHA256). The answers of the two sides differ in
// form, so that nothing that is sent back to its sender, or was overheard at another time, proves anything.
//
//   rank 0                            rank R
//     │ ── kChallenge: a number ──────▶ │
//     │ ◀─ kHello: R, a number, proof ─ │
//     │ ── kWelcome: proof ───────────▶ │
//     │ ◀─ kReady ───────────────────── │   from here on R keeps this connection, and may be counted
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

using Bytes32 = std::array<std::byte, 32>;

// From the system's source of randomness: a job's secret, or a number for one connection.
Bytes32 draw_random();

struct Hello {
  int rank = 0;
  Bytes32 number{};
  Bytes32 proof{};
};

// The largest payload of these messages.
inline constexpr size_t kMaxHandshakePayload = 128;

// What rank R says to rank 0's challenge, having drawn `number`.
Hello make_hello(const Bytes32& secret, const Bytes32& challenge, int rank, const Bytes32& number);
// What rank 0 says to that.
Bytes32 make_welcome(const Bytes32& secret, const Bytes32& challenge, const Hello& hello);

// Whether who sent them knows the secret. Takes the same time whatever is wrong.
bool is_genuine(const Hello& hello, const Bytes32& secret, const Bytes32& challenge);
bool is_genuine_welcome(const Bytes32& welcome, const Bytes32& secret, const Bytes32& challenge, const Hello& hello);

std::vector<std::byte> pack_hello(const Hello& hello);
std::vector<std::byte> pack_bytes32(const Bytes32& bytes);
// A payload that is not what it should be is an error, never more.
Result<Hello> unpack_hello(std::span<const std::byte> payload);
Result<Bytes32> unpack_bytes32(std::span<const std::byte> payload);

}  // namespace octet
