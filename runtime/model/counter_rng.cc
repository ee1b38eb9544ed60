#include "runtime/model/counter_rng.h"

namespace octet {
namespace {

constexpr int kRounds = 10;
constexpr uint64_t kMultiplier0 = 0xD2511F53U;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57U;
constexpr uint32_t kWeyl0 = 0x9E3779B9U;
constexpr uint32_t kWeyl1 = 0xBB67AE85U;

constexpr uint32_t low_word(uint64_t value) { return static_cast<uint32_t>(value); }
constexpr uint32_t high_word(uint64_t value) { return static_cast<uint32_t>(value >> 32); }

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {high_word(product1) ^ counter[1] ^ key[0], low_word(product1), high_word(product0) ^ counter[3] ^ key[1],
               low_word(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

uint64_t random_bits(uint64_t seed, int64_t sample_index, int64_t output_index) {
  const auto sample = static_cast<uint64_t>(sample_index);
  const auto output = static_cast<uint64_t>(output_index);
  const std::array<uint32_t, 4> words = philox4x32(
      {low_word(output), high_word(output), low_word(sample), high_word(sample)}, {low_word(seed), high_word(seed)});
  return (static_cast<uint64_t>(words[0]) << 32) | words[1];
}

}  // namespace octet
