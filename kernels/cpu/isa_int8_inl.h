// The loop of int8 dot products, for the instructions of the translation unit that includes this.
#pragma once

#include <cstdint>

#include "kernels/cpu/kernel_table.h"

namespace octet {
namespace {

// See Int8Loop. Dot has a register `Int` of integers, load and store of it, and add(sum, a, b): sum plus the dot
// products of four bytes.
template <typename Dot>
int64_t int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums) {
  using Int = typename Dot::Int;
  constexpr int kSums = sizeof(Int) / sizeof(int32_t);
  Int left = Dot::load(a);
  const Int right = Dot::load(b);
  Int chains[kInt8Chains];
#pragma GCC unroll 12
  for (int chain = 0; chain < kInt8Chains; ++chain) chains[chain] = Dot::load(sums + chain * kSums);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (Int& sum : chains) {
      sum = Dot::add(sum, left, right);
      asm volatile("" : "+v"(sum), "+v"(left));  // equal products must not become one
    }
  }
#pragma GCC unroll 12
  for (int chain = 0; chain < kInt8Chains; ++chain) Dot::store(sums + chain * kSums, chains[chain]);
  return iterations * kInt8Chains * static_cast<int64_t>(sizeof(Int)) * 2;
}

}  // namespace
}  // namespace octet
