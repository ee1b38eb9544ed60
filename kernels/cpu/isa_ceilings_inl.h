// What the machine can do at best, on the vectors (Vec) of the translation unit that includes this: the ceilings that
// kernels are measured against.
#pragma once

namespace octet {
namespace {

// Multiply-adds on registers alone; returns the floating-point operations done.
int64_t multiply_add_loop(int64_t iterations) {
  constexpr int kChains = 12;  // hide the latency of two multiply-adds a cycle
  Float sums[kChains];
#pragma GCC unroll 12
  for (Float& sum : sums) sum = Vec::set1(0);
  const Float factor = Vec::set1(0.5F);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (Float& sum : sums) {
      sum = Vec::fma(sum, factor, factor);
      asm volatile("" : "+x"(sum));  // equal chains must not become one
    }
  }
  return iterations * kChains * kLanes * 2;
}

// Reads `bytes` (a multiple of 64); returns them.
int64_t read_loop(const std::byte* data, int64_t bytes) {
  constexpr int64_t kAhead = 4096;
  for (int64_t at = 0; at < bytes; at += 64) {
    __builtin_prefetch(data + at + kAhead, 0, 2);
    for (int64_t part = 0; part < 64; part += kLanes * 4) {
      const Float lanes = Vec::load(reinterpret_cast<const float*>(data + at + part));
      asm volatile("" : : "x"(lanes));
    }
  }
  return bytes;
}

}  // namespace
}  // namespace octet
