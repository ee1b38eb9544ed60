// Floating-point arithmetic: PTX ISA 9.7.3 (f32, f64) and 9.7.4 (f16, bf16 and their packed forms).

#include <cfenv>
#include <cmath>

#include "tests/softgpu/exec/float_math.h"
#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

// Lifts a scalar function to packed pairs.
template <class T, class F>
Execute lanewise_pairs(F, T (F::*)(T) const) {
  return lanewise([](Pair<T> a) { return Pair<T>{F{}(a.lo), F{}(a.hi)}; });
}
template <class T, class F>
Execute lanewise_pairs(F, T (F::*)(T, T) const) {
  return lanewise([](Pair<T> a, Pair<T> b) { return Pair<T>{F{}(a.lo, b.lo), F{}(a.hi, b.hi)}; });
}
template <class T, class F>
Execute lanewise_pairs(F, T (F::*)(T, T, T) const) {
  return lanewise([](Pair<T> a, Pair<T> b, Pair<T> c) {
    return Pair<T>{F{}(a.lo, b.lo, c.lo), F{}(a.hi, b.hi, c.hi)};
  });
}

// make(T{}) returns a scalar lambda; the handler is for scalars or pairs, as the type says.
template <class Make>
Execute scalar_or_pair(Builder& b, Type type, Make make) {
  if (type == Type::kF16x2) {
    auto f = make(Half{});
    return lanewise_pairs<Half>(f, &decltype(f)::operator());
  }
  if (type == Type::kBF16x2) {
    auto f = make(BFloat{});
    return lanewise_pairs<BFloat>(f, &decltype(f)::operator());
  }
  return with_float(b, type, [&](auto t) { return lanewise(make(t)); });
}

// The rounding modifier as a host rounding mode.
int rounding_mode(Builder& b) {
  const std::string_view mode = b.choice({"rn", "rz", "rm", "rp"});
  return mode == "rz" ? FE_TOWARDZERO : mode == "rm" ? FE_DOWNWARD : mode == "rp" ? FE_UPWARD : FE_TONEAREST;
}

// Runs a handler under another rounding mode.
template <class F, class T, class... S>
Execute directed(int mode, T (F::*)(S...) const) {
  using Handler = LaneHandler<F, T, S...>;
  const auto under = []<int Mode>(std::integral_constant<int, Mode>) -> Execute {
    return [](Warp& w, const Instr& in) {
      std::fesetround(Mode);
      Handler::run(w, in);
      std::fesetround(FE_TONEAREST);
    };
  };
  switch (mode) {
    case FE_TOWARDZERO:
      return under(std::integral_constant<int, FE_TOWARDZERO>{});
    case FE_DOWNWARD:
      return under(std::integral_constant<int, FE_DOWNWARD>{});
    case FE_UPWARD:
      return under(std::integral_constant<int, FE_UPWARD>{});
    default:
      return &Handler::run;
  }
}

template <class F>
Execute lanewise_rounded(int mode, F) {
  return directed<F>(mode, &F::operator());
}

enum class Arithmetic { kAdd, kSub, kMul, kFma, kDiv };

template <Arithmetic Op, bool Ftz, bool Sat, class T>
T compute(T a, T b, T c) {
  a = flush<Ftz>(a), b = flush<Ftz>(b), c = flush<Ftz>(c);
  using C = Compute<T>;
  T r;
  if constexpr (Op == Arithmetic::kAdd)
    r = T(C(a) + C(b));
  else if constexpr (Op == Arithmetic::kSub)
    r = T(C(a) - C(b));
  else if constexpr (Op == Arithmetic::kMul)
    r = T(C(a) * C(b));
  else if constexpr (Op == Arithmetic::kDiv)
    r = T(C(a) / C(b));
  else
    r = fused_multiply_add(a, b, c);
  r = flush<Ftz>(r);
  return Sat ? saturate(r) : r;
}

template <Arithmetic Op, bool Ftz, bool Sat>
Execute select_arithmetic_as(Builder& b, Type type, int mode) {
  if constexpr (Op == Arithmetic::kFma) {
    b.regular(type, {type, type, type});
    if (mode != FE_TONEAREST) {
      if (type == Type::kF32)
        return lanewise_rounded(mode, [](float x, float y, float z) { return compute<Op, Ftz, Sat>(x, y, z); });
      if (type == Type::kF64)
        return lanewise_rounded(mode, [](double x, double y, double z) { return compute<Op, Ftz, Sat>(x, y, z); });
      b.unsupported("rounding mode");
    }
    return scalar_or_pair(b, type,
                          []<class T>(T) { return [](T x, T y, T z) { return compute<Op, Ftz, Sat>(x, y, z); }; });
  } else {
    b.regular(type, {type, type});
    if (mode != FE_TONEAREST) {
      if (type == Type::kF32)
        return lanewise_rounded(mode, [](float x, float y) { return compute<Op, Ftz, Sat>(x, y, 0.f); });
      if (type == Type::kF64)
        return lanewise_rounded(mode, [](double x, double y) { return compute<Op, Ftz, Sat>(x, y, 0.); });
      b.unsupported("rounding mode");
    }
    return scalar_or_pair(b, type,
                          []<class T>(T) { return [](T x, T y) { return compute<Op, Ftz, Sat>(x, y, T(0.f)); }; });
  }
}

template <Arithmetic Op>
Execute select_arithmetic(Builder& b) {
  const Type type = b.type();
  const int mode = rounding_mode(b);
  const bool ftz = b.flag("ftz"), sat = b.flag("sat");
  if (ftz && type != Type::kF32) b.unsupported(".ftz on this type");
  if (ftz)
    return sat ? select_arithmetic_as<Op, true, true>(b, type, mode)
               : select_arithmetic_as<Op, true, false>(b, type, mode);
  return sat ? select_arithmetic_as<Op, false, true>(b, type, mode)
             : select_arithmetic_as<Op, false, false>(b, type, mode);
}

// fma with .relu (sm_80 f16/bf16): negative results and NaN handling of 9.7.4.4.
Execute select_fma(Builder& b) {
  if (b.flag("relu")) {
    b.flag("rn");
    b.regular(b.type(), {b.type(), b.type(), b.type()});
    return scalar_or_pair(b, b.type(), []<class T>(T) {
      return [](T x, T y, T z) { return maximum<true>(fused_multiply_add(x, y, z), T(0.f)); };
    });
  }
  return select_arithmetic<Arithmetic::kFma>(b);
}

template <bool Max>
Execute select_min_max(Builder& b) {
  const bool nan = b.flag("NaN"), ftz = b.flag("ftz");
  b.regular(b.type(), {b.type(), b.type()});
  if (ftz && b.type() == Type::kF32 && !nan)
    return lanewise([](float x, float y) {
      return Max ? maximum<false>(flush_subnormal(x), flush_subnormal(y))
                 : minimum<false>(flush_subnormal(x), flush_subnormal(y));
    });
  if (ftz) b.unsupported(".ftz here");
  return nan ? scalar_or_pair(
                   b, b.type(),
                   []<class T>(T) { return [](T x, T y) { return Max ? maximum<true>(x, y) : minimum<true>(x, y); }; })
             : scalar_or_pair(b, b.type(), []<class T>(T) {
                 return [](T x, T y) { return Max ? maximum<false>(x, y) : minimum<false>(x, y); };
               });
}

// Unary functions of one float, with and without .ftz.
template <class F>
Execute unary_single(Builder& b, F) {
  b.regular(Type::kF32, {Type::kF32});
  return b.flag("ftz") ? lanewise([](float x) { return flush_subnormal(F{}(flush_subnormal(x))); })
                       : lanewise([](float x) { return F{}(x); });
}

template <class F, class G>
Execute unary_float(Builder& b, F single, G double_precision) {
  const int mode = rounding_mode(b);
  b.flag("approx");
  if (b.type() == Type::kF64) {
    b.flag("ftz");  // rcp.approx.ftz.f64
    b.regular(Type::kF64, {Type::kF64});
    return lanewise_rounded(mode, double_precision);
  }
  if (b.type() != Type::kF32) b.unsupported("type");
  if (mode != FE_TONEAREST) {
    b.flag("ftz");
    b.regular(Type::kF32, {Type::kF32});
    return lanewise_rounded(mode, single);
  }
  return unary_single(b, single);
}

// Approximations on f32 or (ex2, tanh) the narrow types.
template <class F>
Execute approximation(Builder& b, F) {
  if (!b.flag("approx")) b.unsupported("only .approx");
  if (b.type() == Type::kF32) return unary_single(b, F{});
  if (b.type() == Type::kF64) b.unsupported("type");
  b.flag("ftz");  // bf16 results of ex2 flush subnormal inputs; the result is 1 either way
  b.regular(b.type(), {b.type()});
  return scalar_or_pair(b, b.type(), []<class T>(T) { return [](T x) { return T(float(F{}(float(x)))); }; });
}

Execute select_divide(Builder& b) {
  const bool approximate = !b.choice({"approx", "full"}).empty();
  if (approximate && b.type() != Type::kF32) b.unsupported("type");
  return select_arithmetic<Arithmetic::kDiv>(b);
}

Execute select_test_property(Builder& b) {
  const std::string_view what = b.choice({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  static constexpr std::string_view kNames[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  for (u8 i = 0; i < 6; ++i)
    if (kNames[i] == what) b.instr.mode[0] = i;
  b.pred(b.operand(0));
  b.source(b.operand(1), b.type());
  return with_float(b, b.type(), []<class T>(T) -> Execute {
    return [](Warp& w, const Instr& in) {
      const T* x = w.reg<T>(in.ops[1]);
      u32& d = w.pred(in.ops[0]);
      for_active(w.active, [&](unsigned l) {
        const int category = std::fpclassify(Compute<T>(x[l]));
        const bool answers[] = {category != FP_NAN && category != FP_INFINITE,
                                category == FP_INFINITE,
                                category != FP_NAN,
                                category == FP_NAN,
                                category == FP_NORMAL,
                                category == FP_SUBNORMAL};
        d = (d & ~(1u << l)) | u32(answers[in.mode[0]]) << l;
      });
    };
  });
}

}  // namespace

Execute select_float(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "fma") return select_fma(b);
  if (op == "ex2") return approximation(b, [](float x) { return exp2_approx(x); });
  if (op == "tanh") return approximation(b, [](float x) { return std::tanh(x); });
  if (op == "lg2") return approximation(b, [](float x) { return std::log2(x); });
  if (op == "sin") return approximation(b, [](float x) { return std::sin(x); });
  if (op == "cos") return approximation(b, [](float x) { return std::cos(x); });
  if (op == "rcp")
    return unary_float(
        b, [](float x) { return 1.f / x; }, [](double x) { return 1. / x; });
  if (op == "sqrt")
    return unary_float(
        b, [](float x) { return std::sqrt(x); }, [](double x) { return std::sqrt(x); });
  if (op == "rsqrt")
    return unary_float(
        b, [](float x) { return float(1. / std::sqrt(double(x))); }, [](double x) { return 1. / std::sqrt(x); });
  if (op == "testp") return select_test_property(b);
  if (op == "copysign") {  // the sign of a, the magnitude of b
    b.regular(b.type(), {b.type(), b.type()});
    return b.type() == Type::kF64 ? lanewise([](double x, double y) { return std::copysign(y, x); })
                                  : lanewise([](float x, float y) { return std::copysign(y, x); });
  }
  if (b.types().empty() || !is_float(b.type())) return nullptr;
  if (op == "add") return select_arithmetic<Arithmetic::kAdd>(b);
  if (op == "sub") return select_arithmetic<Arithmetic::kSub>(b);
  if (op == "mul") return select_arithmetic<Arithmetic::kMul>(b);
  if (op == "mad") return select_arithmetic<Arithmetic::kFma>(b);
  if (op == "div") return select_divide(b);
  if (op == "min") return select_min_max<false>(b);
  if (op == "max") return select_min_max<true>(b);
  if (op == "neg" || op == "abs") {
    b.regular(b.type(), {b.type()});
    if (b.flag("ftz") && b.type() == Type::kF32)
      return op == "neg" ? lanewise([](float x) { return negate(flush_subnormal(x)); })
                         : lanewise([](float x) { return absolute(flush_subnormal(x)); });
    return op == "neg" ? scalar_or_pair(b, b.type(), []<class T>(T) { return [](T x) { return negate(x); }; })
                       : scalar_or_pair(b, b.type(), []<class T>(T) { return [](T x) { return absolute(x); }; });
  }
  return nullptr;
}

}  // namespace octet::softgpu
