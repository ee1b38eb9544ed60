// Integers by size, and the narrow floating-point formats of PTX (PTX ISA 5.2.3) with their rounding.
#pragma once

#include <cmath>
#include <tuple>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

// Integers by their size in bytes.
__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;
template <std::size_t kBytes>
using UnsignedOf = std::tuple_element_t<std::bit_width(kBytes) - 1, std::tuple<u8, u16, u32, u64, u128>>;
template <std::size_t kBytes>
using SignedOf = std::tuple_element_t<std::bit_width(kBytes) - 1, std::tuple<s8, s16, s32, s64, s128>>;

// IEEE binary16. Arithmetic is done in float: 24 >= 2*11+2 bits make the double rounding of
// + - * / sqrt innocuous.
struct Half {
  u16 bits;
  Half() = default;
  explicit Half(float value) : bits(std::bit_cast<u16>(static_cast<_Float16>(value))) {}
  explicit Half(double value) : bits(std::bit_cast<u16>(static_cast<_Float16>(value))) {}
  operator float() const { return static_cast<float>(std::bit_cast<_Float16>(bits)); }
  static Half from_bits(u16 bits) { return std::bit_cast<Half>(bits); }
};

// bfloat16: the upper half of a float, rounded to nearest even.
struct BFloat {
  u16 bits;
  BFloat() = default;
  explicit BFloat(float value) {
    const u32 b = std::bit_cast<u32>(value);
    const bool nan = (b & 0x7fffffffu) > 0x7f800000u;
    bits = nan ? u16{0x7fff} : u16((b + 0x7fffu + ((b >> 16) & 1)) >> 16);
  }
  // Rounds a double once: rounding to odd first keeps the sticky information.
  explicit BFloat(double value) {
    float f = static_cast<float>(value);
    if (std::isfinite(f) && double(f) != value) {
      u32 b = std::bit_cast<u32>(f);
      if (std::fabs(double(f)) > std::fabs(value)) --b;  // truncate towards zero ...
      f = std::bit_cast<float>(b | 1);                   // ... and mark it inexact
    }
    *this = BFloat(f);
  }
  operator float() const { return std::bit_cast<float>(u32{bits} << 16); }
  static BFloat from_bits(u16 bits) { return std::bit_cast<BFloat>(bits); }
};

// Two 16-bit floats in one 32-bit register: .f16x2 and .bf16x2.
template <class T>
struct Pair {
  T lo, hi;
};

template <class T>
inline constexpr bool is_narrow_float = std::is_same_v<T, Half> || std::is_same_v<T, BFloat>;

// The .ftz modifier: subnormal single precision values become zero of the same sign.
inline float flush_subnormal(float x) {
  const u32 b = std::bit_cast<u32>(x);
  return (b & 0x7f800000u) == 0 ? std::bit_cast<float>(b & 0x80000000u) : x;
}

}  // namespace octet::softgpu
