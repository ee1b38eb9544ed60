// Integer functions of PTX that C++ lacks or leaves undefined: PTX ISA 9.7.1, 9.7.8.
#pragma once

#include <algorithm>
#include <bit>
#include <limits>

#include "tests/softgpu/base/numeric.h"

namespace octet::softgpu {

template <class T>
using Unsigned = std::make_unsigned_t<T>;

template <class T>
using Wider = std::conditional_t<std::is_signed_v<T>, SignedOf<2 * sizeof(T)>, UnsignedOf<2 * sizeof(T)>>;

// Two's complement arithmetic without undefined behaviour.
template <class T>
constexpr T wrap_add(T a, T b) {
  return T(u64(a) + u64(b));
}
template <class T>
constexpr T wrap_sub(T a, T b) {
  return T(u64(a) - u64(b));
}
template <class T>
constexpr T wrap_mul(T a, T b) {
  return T(u64(a) * u64(b));
}
template <class T>
constexpr T mul_high(T a, T b) {
  return T((Wider<T>(a) * Wider<T>(b)) >> (8 * sizeof(T)));
}

// Division by zero yields all ones, as the hardware does (PTX leaves it unspecified).
template <class T>
constexpr T divide(T a, T b) {
  if (b == 0) return T(-1);
  if (std::is_signed_v<T> && b == T(-1)) return wrap_sub(T(0), a);
  return T(a / b);
}
template <class T>
constexpr T remainder(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == T(-1)) return 0;
  return T(a % b);
}

// Shifts clamp the amount to the width (PTX ISA 9.7.8.7).
template <class T>
constexpr T shift_left(T a, u32 n) {
  return n >= 8 * sizeof(T) ? T(0) : T(u64(a) << n);
}
template <class T>
constexpr T shift_right(T a, u32 n) {
  constexpr u32 width = 8 * sizeof(T);
  if constexpr (std::is_signed_v<T>) return T(a >> (n >= width ? width - 1 : n));
  return n >= width ? T(0) : T(a >> n);
}

template <class T>
constexpr u32 leading_zeros(T a) {
  return u32(std::countl_zero(Unsigned<T>(a)));
}

// bfind: position of the most significant non-sign bit, ~0 if there is none.
template <class T>
constexpr u32 find_bit(T a) {
  const Unsigned<T> u = Unsigned<T>(a < 0 ? ~a : a);
  return u ? u32(8 * sizeof(T) - 1) - leading_zeros(u) : ~0u;
}

template <class T>
constexpr T reverse_bits(T a) {
  T r = 0;
  for (unsigned i = 0; i < 8 * sizeof(T); ++i) r = T(r << 1 | (a >> i & 1));
  return r;
}

// bfe: field of `length` bits at `position`, sign extended (PTX ISA 9.7.1.20).
template <class T>
constexpr T extract_field(T a, u32 position, u32 length) {
  constexpr u32 width = 8 * sizeof(T);
  position &= 0xff;
  length &= 0xff;
  if (length == 0) return 0;
  const u32 sign_position = std::min(position + length - 1, width - 1);
  const bool negative = std::is_signed_v<T> && (u64(a) >> sign_position & 1);
  const Unsigned<T> field = position >= width ? Unsigned<T>(0) : Unsigned<T>(Unsigned<T>(a) >> position);
  const Unsigned<T> mask = length >= width ? ~Unsigned<T>(0) : Unsigned<T>((u64{1} << length) - 1);
  const u32 valid = position >= width ? 0 : width - position;  // bits that exist
  const Unsigned<T> existing = valid >= width ? ~Unsigned<T>(0) : Unsigned<T>((u64{1} << valid) - 1);
  return T((field & mask & existing) | (negative ? ~(mask & existing) : Unsigned<T>(0)));
}

template <class T>
constexpr T insert_field(T a, T b, u32 position, u32 length) {
  constexpr u32 width = 8 * sizeof(T);
  position &= 0xff;
  length &= 0xff;
  if (length == 0 || position >= width) return b;
  const T mask = T((length >= width ? ~T(0) : T((u64{1} << length) - 1)) << position);
  return T((T(a << position) & mask) | (b & ~mask));
}

// prmt in its general mode: each selector nibble picks a byte, or its replicated sign.
constexpr u32 permute_bytes(u32 a, u32 b, u32 selectors) {
  const u64 bytes = u64{b} << 32 | a;
  u32 result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const u32 selector = selectors >> (4 * i) & 15;
    u32 byte = u32(bytes >> (8 * (selector & 7))) & 0xff;
    if (selector & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

inline u32 lop3(u32 a, u32 b, u32 c, u32 table) {
  u32 result = 0;
  for (unsigned i = 0; i < 8; ++i)
    if (table >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return result;
}

template <class T>
constexpr T saturating_add(T a, T b) {
  const s64 sum = s64(a) + s64(b);
  return T(std::clamp<s64>(sum, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}
template <class T>
constexpr T saturating_sub(T a, T b) {
  const s64 difference = s64(a) - s64(b);
  return T(std::clamp<s64>(difference, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}

}  // namespace octet::softgpu
