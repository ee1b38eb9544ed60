// Floating-point functions of PTX: flushing, saturation, minimum and maximum, 2^x.
#pragma once

#include <cmath>

#include "tests/softgpu/base/numeric.h"

namespace octet::softgpu {

// The type arithmetic is carried out in.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <bool Ftz, class T>
T flush(T x) {
  if constexpr (Ftz && std::is_same_v<T, float>)
    return flush_subnormal(x);
  else
    return x;
}

template <class T>
T saturate(T x) {  // .sat: clamp to [0, 1]; NaN becomes 0
  if constexpr (is_narrow_float<T>)
    return T(saturate(float(x)));
  else
    return x > T(0) ? (x < T(1) ? x : T(1)) : T(0);
}

template <class T>
T fused_multiply_add(T a, T b, T c) {
  if constexpr (is_narrow_float<T>)
    return T(std::fma(double(float(a)), double(float(b)), double(float(c))));
  else
    return std::fma(a, b, c);
}

template <class T>
bool is_nan(T x) {
  return std::isnan(Compute<T>(x));
}

// neg and abs only touch the sign bit, also of NaNs.
template <class T>
using Bits = UnsignedOf<sizeof(T)>;
template <class T>
inline constexpr Bits<T> kSignBit = Bits<T>(Bits<T>(1) << (8 * sizeof(T) - 1));
// The NaN that arithmetic produces (PTX ISA 9.7.3: 0x7fffffff for f32).
template <class T>
inline constexpr Bits<T> kCanonicalNan = sizeof(T) == 8 ? Bits<T>(0x7ff8000000000000ull)
                                                        : Bits<T>(Bits<T>(~kSignBit<T>));
template <class T>
T negate(T x) {
  return std::bit_cast<T>(Bits<T>(std::bit_cast<Bits<T>>(x) ^ kSignBit<T>));
}
template <class T>
T absolute(T x) {
  return std::bit_cast<T>(Bits<T>(std::bit_cast<Bits<T>>(x) & Bits<T>(~kSignBit<T>)));
}

// min and max prefer a number to NaN unless .NaN is given, and order -0 below +0. Free of branches,
// so that they vectorise; equal values differ at most in the sign of zero.
template <bool PropagateNan, class T>
T choose_number(T a, T b, T ordered) {
  const T nan = std::bit_cast<T>(kCanonicalNan<T>);
  const T with_a = is_nan(a) ? (PropagateNan || is_nan(b) ? nan : b) : ordered;
  return is_nan(b) && !is_nan(a) ? (PropagateNan ? nan : a) : with_a;
}
template <bool PropagateNan, class T>
T minimum(T a, T b) {
  const T smaller = Compute<T>(a) < Compute<T>(b) ? a : b;
  const T equal = std::bit_cast<T>(Bits<T>(std::bit_cast<Bits<T>>(a) | std::bit_cast<Bits<T>>(b)));
  return choose_number<PropagateNan>(a, b, Compute<T>(a) == Compute<T>(b) ? equal : smaller);
}
template <bool PropagateNan, class T>
T maximum(T a, T b) {
  const T larger = Compute<T>(a) > Compute<T>(b) ? a : b;
  const T equal = std::bit_cast<T>(Bits<T>(std::bit_cast<Bits<T>>(a) & std::bit_cast<Bits<T>>(b)));
  return choose_number<PropagateNan>(a, b, Compute<T>(a) == Compute<T>(b) ? equal : larger);
}

// 2^x, accurate to about 1 ulp like ex2.approx, in a form that vectorises.
inline float exp2_approx(float x) {
  const float clamped = x < -151.f ? -151.f : x > 129.f ? 129.f : x;
  const float whole = std::nearbyint(clamped);
  const float f = clamped - whole;  // in [-0.5, 0.5]
  float p = 1.5353362e-4f;          // minimax polynomial of 2^f
  p = std::fma(p, f, 1.3398874e-3f);
  p = std::fma(p, f, 9.6184373e-3f);
  p = std::fma(p, f, 5.5503324e-2f);
  p = std::fma(p, f, 2.4022648e-1f);
  p = std::fma(p, f, 6.9314720e-1f);
  p = std::fma(p, f, 1.0f);
  const s32 n = s32(whole);
  const s32 half = n >> 1;  // two factors, so that subnormal results are rounded once at the end
  const float scaled =
      p * std::bit_cast<float>(u32(half + 127) << 23) * std::bit_cast<float>(u32(n - half + 127) << 23);
  return x == x ? scaled : x;
}

}  // namespace octet::softgpu
