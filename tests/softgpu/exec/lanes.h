// Turns a function of scalars into a handler that applies it to the active lanes.
#pragma once

#include <tuple>
#include <utility>

#include "tests/softgpu/base/numeric.h"
#include "tests/softgpu/exec/warp.h"
#include "tests/softgpu/ptx/select.h"

namespace octet::softgpu {

// Calls f(lane) for each active lane, in order.
template <class F>
[[gnu::always_inline]] inline void for_active(u32 active, F f) {
  if (active == kAllLanes) {
    for (unsigned l = 0; l < kLanes; ++l) f(l);
  } else {
    for (; active; active &= active - 1) f(unsigned(std::countr_zero(active)));
  }
}

// Writes the active lanes of a register.
template <class D>
[[gnu::always_inline]] inline void store_active(Warp& w, Slot slot, const D* value) {
  D* const d = w.reg<D>(slot);
  const u32 active = w.active;
  if (active == kAllLanes) {
    std::memcpy(d, value, sizeof(D) * kLanes);
  } else {
    for (unsigned l = 0; l < kLanes; ++l) d[l] = active >> l & 1 ? value[l] : d[l];
  }
}

template <class F, class D, class... S>
struct LaneHandler {
  // ops[0] = F(ops[1], ops[2], ...)
  static void run(Warp& w, const Instr& in) { loop(w, in, std::index_sequence_for<S...>{}); }

 private:
  template <std::size_t... I>
  static void loop(Warp& w, const Instr& in, std::index_sequence<I...>) {
    const std::tuple<const S*...> s{w.reg<S>(in.ops[I + 1])...};
    constexpr F f{};
    D value[kLanes];  // a buffer of its own, so that the loop vectorises
    for (unsigned l = 0; l < kLanes; ++l) value[l] = f(std::get<I>(s)[l]...);
    store_active(w, in.ops[0], value);
  }
};

template <class F, class D, class... S>
constexpr Execute lane_handler(D (F::*)(S...) const) {
  return &LaneHandler<F, D, S...>::run;
}

// lanewise([](u32 a, u32 b) { return a + b; }): operand types are those of the lambda.
template <class F>
constexpr Execute lanewise(F) {
  return lane_handler<F>(&F::operator());
}

// Applies a predicate-valued function and stores the lane mask: ops[0] = F(ops[1], ...).
template <class F, class... S>
struct MaskHandler {
  static u32 evaluate(Warp& w, const Slot* sources) { return loop(w, sources, std::index_sequence_for<S...>{}); }

 private:
  template <std::size_t... I>
  static u32 loop(Warp& w, const Slot* sources, std::index_sequence<I...>) {
    const std::tuple<const S*...> s{w.reg<S>(sources[I])...};
    constexpr F f{};
    u32 mask = 0;
    for (unsigned l = 0; l < kLanes; ++l) mask |= u32(f(std::get<I>(s)[l]...)) << l;
    return mask;
  }
};

// Calls f(T{}) with the C++ type of an integer type.
template <class F>
Execute with_integer(Builder& b, Type type, F f) {
  switch (type) {
    case Type::kB16:
    case Type::kU16:
      return f(u16{});
    case Type::kB32:
    case Type::kU32:
      return f(u32{});
    case Type::kB64:
    case Type::kU64:
      return f(u64{});
    case Type::kS16:
      return f(s16{});
    case Type::kS32:
      return f(s32{});
    case Type::kS64:
      return f(s64{});
    default:
      b.unsupported("type");
  }
}

// Calls f(T{}) for a scalar floating-point type.
template <class F>
Execute with_float(Builder& b, Type type, F f) {
  switch (type) {
    case Type::kF16:
      return f(Half{});
    case Type::kBF16:
      return f(BFloat{});
    case Type::kF32:
      return f(float{});
    case Type::kF64:
      return f(double{});
    default:
      b.unsupported("type");
  }
}

// Same, but only the width matters.
template <class F>
Execute with_bits(Builder& b, unsigned bytes, F f) {
  switch (bytes) {
    case 2:
      return f(u16{});
    case 4:
      return f(u32{});
    case 8:
      return f(u64{});
    default:
      b.unsupported("width");
  }
}

}  // namespace octet::softgpu
