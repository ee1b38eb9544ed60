// Random numbers as a pure function of where they are used: no state, so a draw does not depend on what else runs, on
// restarts or on threads. The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011, section 4).
#pragma once

#include <array>
#include <cstdint>

namespace octet {

// One block of Philox4x32 with 10 rounds: four uniform 32-bit words of a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// 64 uniform bits for one output of one sample of a request with this seed.
uint64_t random_bits(uint64_t seed, int64_t sample_index, int64_t output_index);

}  // namespace octet
