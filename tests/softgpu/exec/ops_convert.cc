// Data conversion: PTX ISA 9.7.9.21 (cvt).

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <limits>

#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

enum class Rounding : u8 { kNearest, kZero, kDown, kUp };
enum : u8 { kSaturate = 1, kFlush = 2, kRelu = 4, kSatFinite = 8, kToInteger = 16 };

template <class T>
inline constexpr bool is_integer = std::is_integral_v<T>;

int host_mode(Rounding r) {
  return r == Rounding::kZero   ? FE_TOWARDZERO
         : r == Rounding::kDown ? FE_DOWNWARD
         : r == Rounding::kUp   ? FE_UPWARD
                                : FE_TONEAREST;
}

template <class T>
T round_to_integer(T x, Rounding r) {
  switch (r) {
    case Rounding::kZero:
      return std::trunc(x);
    case Rounding::kDown:
      return std::floor(x);
    case Rounding::kUp:
      return std::ceil(x);
    default:
      return std::nearbyint(x);  // only used under FE_TONEAREST
  }
}

// Float to integer conversions saturate; NaN becomes 0, or the smallest 64-bit integer.
template <class D, class S>
D float_to_integer(S x, Rounding r) {
  if (x != x) return sizeof(D) == 8 ? D(u64{1} << 63) : D(0);
  const S rounded = round_to_integer(x, r);
  // 2^n is exact, max() may not be.
  const S limit = std::ldexp(S(1), int(8 * sizeof(D)) - (std::is_signed_v<D> ? 1 : 0));
  if (rounded >= limit) return std::numeric_limits<D>::max();
  if (rounded <= S(std::numeric_limits<D>::min())) return std::numeric_limits<D>::min();
  return D(rounded);
}

// Narrows towards zero: nearest, then one step back if that went too far.
template <class T>
T narrow_toward_zero(float x) {
  T r(x);
  if (std::fabs(float(r)) > std::fabs(x)) --r.bits;
  return r;
}

template <class D>
D float_to_float(double x, Rounding r) {
  if constexpr (is_narrow_float<D>)
    return r == Rounding::kZero ? narrow_toward_zero<D>(float(x)) : D(float(x));
  else
    return D(x);  // rounds as the host mode says
}

template <class D, class S>
D convert(S x, Rounding r, u8 flags) {
  if constexpr (is_integer<S> && is_integer<D>) {
    if (flags & kSaturate) {
      using W = std::conditional_t<std::is_signed_v<S>, s64, u64>;
      if constexpr (std::is_signed_v<S>) {
        if (x < 0 && !std::is_signed_v<D>) return 0;
        if (x < 0) return D(std::max(W(x), W(std::numeric_limits<D>::min())));
      }
      return u64(x) > u64(std::numeric_limits<D>::max()) ? std::numeric_limits<D>::max() : D(x);
    }
    return D(x);
  } else if constexpr (is_integer<S>) {
    if constexpr (is_narrow_float<D>)
      return D(double(x));
    else
      return D(x);
  } else if constexpr (is_integer<D>) {
    if constexpr (std::is_same_v<S, float>)
      if (flags & kFlush) x = flush_subnormal(x);
    if constexpr (is_narrow_float<S>)
      return float_to_integer<D>(float(x), r);
    else
      return float_to_integer<D>(x, r);
  } else {
    if constexpr (std::is_same_v<S, float>)
      if (flags & kFlush) x = flush_subnormal(x);
    D d;
    if constexpr (std::is_same_v<D, S>) {
      if (flags & kToInteger) {
        if constexpr (is_narrow_float<S>)
          d = D(round_to_integer(float(x), r));
        else
          d = round_to_integer(x, r);
      } else {
        d = x;
      }
    } else {
      d = float_to_float<D>(double(x), r);
    }
    if constexpr (std::is_same_v<D, float>)
      if (flags & kFlush) d = flush_subnormal(d);
    using C = std::conditional_t<std::is_same_v<D, double>, double, float>;
    if (flags & kSaturate) d = C(d) > C(0) ? (C(d) < C(1) ? d : D(C(1))) : D(C(0));
    if ((flags & kRelu) && !(C(d) > C(0)) && !(C(d) != C(d))) d = D(C(0));
    if (flags & kSatFinite) {
      if constexpr (std::is_same_v<D, Half>)
        if (std::isinf(C(d))) d.bits = u16((d.bits & 0x8000) | 0x7bff);
      if constexpr (std::is_same_v<D, BFloat>)
        if (std::isinf(C(d))) d.bits = u16((d.bits & 0x8000) | 0x7f7f);
    }
    return d;
  }
}

// mode: rounding, flags, register bytes of destination and source (which may be wider than the types)
template <class D, class S>
void run_convert(Warp& w, const Instr& in) {
  const auto r = Rounding(in.mode[0]);
  const u8 flags = in.mode[1];
  const std::size_t d_bytes = in.mode[2], s_bytes = in.mode[3];
  S s[kLanes];
  D d[kLanes];
  const std::byte* source = w.reg<std::byte>(in.ops[1]);
  if (s_bytes == sizeof(S))
    std::memcpy(s, source, sizeof s);
  else
    for (unsigned l = 0; l < kLanes; ++l) std::memcpy(&s[l], source + l * s_bytes, sizeof(S));
  if (r == Rounding::kNearest && !flags) {
    for (unsigned l = 0; l < kLanes; ++l) d[l] = convert<D>(s[l], Rounding::kNearest, 0);
  } else {
    const bool host_rounds = !is_integer<D> && !(flags & kToInteger) && r != Rounding::kNearest;
    if (host_rounds) std::fesetround(host_mode(r));
    for (unsigned l = 0; l < kLanes; ++l) d[l] = convert<D>(s[l], r, flags);
    if (host_rounds) std::fesetround(FE_TONEAREST);
  }
  std::byte* destination = w.reg<std::byte>(in.ops[0]);
  if (d_bytes == sizeof(D) && w.active == kAllLanes) {
    std::memcpy(destination, d, sizeof d);
    return;
  }
  for_active(w.active, [&](unsigned l) {
    if constexpr (is_integer<D>) {  // extend to the register
      const u64 wide = u64(s64(d[l]));
      std::memcpy(destination + l * d_bytes, &wide, d_bytes);
    } else {
      std::memcpy(destination + l * d_bytes, &d[l], sizeof(D));
    }
  });
}

template <class F>
Execute with_any_type(Builder& b, Type type, F f) {
  switch (type) {
    case Type::kU8:
    case Type::kB8:
      return f(u8{});
    case Type::kS8:
      return f(s8{});
    default:
      return is_float(type) ? with_float(b, type, f) : with_integer(b, type, f);
  }
}

// cvt.rn.bf16x2.f32 d, a, b: a goes to the upper half.
template <class T>
void run_convert_pair(Warp& w, const Instr& in) {
  Pair<T>* d = w.reg<Pair<T>>(in.ops[0]);
  const float *hi = w.reg<float>(in.ops[1]), *lo = w.reg<float>(in.ops[2]);
  const auto r = Rounding(in.mode[0]);
  for (unsigned l = 0; l < kLanes; ++l) {
    const Pair<T> value{convert<T>(lo[l], r, in.mode[1]), convert<T>(hi[l], r, in.mode[1])};
    d[l] = w.active >> l & 1 ? value : d[l];
  }
}

}  // namespace

Execute select_convert(Builder& b) {
  if (b.opcode() != "cvt") return nullptr;
  const Type d = b.type(0), s = b.type(1);
  const std::string_view integer_rounding = b.choice({"rni", "rzi", "rmi", "rpi"});
  const std::string_view rounding = integer_rounding.empty() ? b.choice({"rn", "rz", "rm", "rp"}) : integer_rounding;
  const Rounding r = rounding.empty() || rounding[1] == 'n' ? Rounding::kNearest
                     : rounding[1] == 'z'                   ? Rounding::kZero
                     : rounding[1] == 'm'                   ? Rounding::kDown
                                                            : Rounding::kUp;
  b.instr.mode[0] = u8(r);
  b.instr.mode[1] = u8((b.flag("sat") ? kSaturate : 0) | (b.flag("ftz") ? kFlush : 0) | (b.flag("relu") ? kRelu : 0) |
                       (b.flag("satfinite") ? kSatFinite : 0) | (integer_rounding.empty() ? 0 : kToInteger));
  if (d == Type::kF16x2 || d == Type::kBF16x2) {
    if (s != Type::kF32) b.unsupported("source type");
    b.regular(d, {Type::kF32, Type::kF32});
    return d == Type::kF16x2 ? &run_convert_pair<Half> : &run_convert_pair<BFloat>;
  }
  if (d == Type::kTF32) {  // 10 bits of mantissa, ties away from zero
    const bool away = b.flag("rna");
    b.regular(Type::kB32, {Type::kF32});
    return away ? lanewise([](u32 x) { return (x & 0x7f800000u) == 0x7f800000u ? x : (x + 0x1000u) & ~0x1fffu; })
                : lanewise([](u32 x) {
                    return (x & 0x7f800000u) == 0x7f800000u ? x : (x + 0xfffu + (x >> 13 & 1)) & ~0x1fffu;
                  });
  }
  b.instr.mode[2] = u8(b.result_any(b.operand(0)));
  b.instr.mode[3] = u8(b.source_any(b.operand(1), s));
  if (b.instr.mode[2] < size_of(d) || b.instr.mode[3] < size_of(s)) b.unsupported("register too narrow");
  return with_any_type(
      b, d, [&]<class D>(D) { return with_any_type(b, s, []<class S>(S) -> Execute { return &run_convert<D, S>; }); });
}

}  // namespace octet::softgpu
