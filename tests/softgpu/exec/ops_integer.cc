// Integer arithmetic and logic: PTX ISA 9.7.1, 9.7.2, 9.7.8.

#include "tests/softgpu/exec/integer_math.h"
#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

Type wider_type(Type t) {
  switch (t) {
    case Type::kU16:
      return Type::kU32;
    case Type::kS16:
      return Type::kS32;
    case Type::kU32:
      return Type::kU64;
    case Type::kS32:
      return Type::kS64;
    default:
      return Type::kNone;
  }
}

void run_lop3(Warp& w, const Instr& in) {
  u32* d = w.reg<u32>(in.ops[0]);
  const u32 *a = w.reg<u32>(in.ops[1]), *b = w.reg<u32>(in.ops[2]), *c = w.reg<u32>(in.ops[3]);
  for_active(w.active, [&](unsigned l) { d[l] = lop3(a[l], b[l], c[l], u32(in.imm)); });
}

template <class F>
Execute binary(Builder& b, F f) {
  b.regular(b.type(), {b.type(), b.type()});
  return with_integer(b, b.type(), f);
}

template <class F>
Execute unary(Builder& b, F f) {
  b.regular(b.type(), {b.type()});
  return with_integer(b, b.type(), f);
}

Execute select_multiply(Builder& b, bool addend) {
  const Type t = b.type();
  const std::string_view part = b.choice({"lo", "hi", "wide"});
  if (part.empty()) b.unsupported("mul needs .lo, .hi or .wide");
  const Type d = part == "wide" ? wider_type(t) : t;
  if (d == Type::kNone) b.unsupported("type");
  if (addend)
    b.regular(d, {t, t, d});
  else
    b.regular(d, {t, t});
  if (part == "wide") {
    const auto select = [addend]<class T>(T) {
      using W = Wider<T>;
      return addend ? lanewise([](T x, T y, W z) { return wrap_add<W>(W(W(x) * W(y)), z); })
                    : lanewise([](T x, T y) { return W(W(x) * W(y)); });
    };
    switch (t) {
      case Type::kU16:
        return select(u16{});
      case Type::kS16:
        return select(s16{});
      case Type::kU32:
        return select(u32{});
      default:
        return select(s32{});
    }
  }
  return with_integer(b, t, [&]<class T>(T) {
    if (part == "lo")
      return addend ? lanewise([](T x, T y, T z) { return wrap_add<T>(wrap_mul(x, y), z); })
                    : lanewise([](T x, T y) { return wrap_mul(x, y); });
    return addend ? lanewise([](T x, T y, T z) { return wrap_add<T>(mul_high(x, y), z); })
                  : lanewise([](T x, T y) { return mul_high(x, y); });
  });
}

// mul24 / mad24 .lo: the low 32 bits of a product of 24-bit integers.
Execute select_multiply24(Builder& b, bool addend) {
  if (!b.flag("lo")) b.unsupported("only .lo");
  const Type t = b.type();
  if (addend)
    b.regular(t, {t, t, t});
  else
    b.regular(t, {t, t});
  if (is_signed(t))
    return addend ? lanewise([](s32 x, s32 y, s32 z) {
      return wrap_add(wrap_mul(s32(u32(x) << 8) >> 8, s32(u32(y) << 8) >> 8), z);
    })
                  : lanewise([](s32 x, s32 y) { return wrap_mul(s32(u32(x) << 8) >> 8, s32(u32(y) << 8) >> 8); });
  return addend ? lanewise([](u32 x, u32 y, u32 z) { return (x & 0xffffff) * (y & 0xffffff) + z; })
                : lanewise([](u32 x, u32 y) { return (x & 0xffffff) * (y & 0xffffff); });
}

Execute select_add(Builder& b, bool subtract) {
  if (b.flag("sat")) {
    if (b.type() != Type::kS32) b.unsupported("type");
    b.regular(Type::kS32, {Type::kS32, Type::kS32});
    return subtract ? lanewise([](s32 x, s32 y) { return saturating_sub(x, y); })
                    : lanewise([](s32 x, s32 y) { return saturating_add(x, y); });
  }
  return binary(b, [subtract]<class T>(T) {
    return subtract ? lanewise([](T x, T y) { return wrap_sub(x, y); })
                    : lanewise([](T x, T y) { return wrap_add(x, y); });
  });
}

// add.cc, addc, sub.cc, subc, mad.cc, madc (PTX ISA 9.7.2): d = x + y + carry, where sub adds the
// complement. mode[0]: reads the carry; mode[1]: writes it; mode[2]: subtracts
template <class T, class First>
void run_with_carry(Warp& w, const Instr& in, First first, const T* second) {
  T value[kLanes];
  u32 carry_out = 0;
  const bool subtract = in.mode[2];
  for (unsigned l = 0; l < kLanes; ++l) {
    const T x = first(l), y = subtract ? T(~second[l]) : second[l];
    // CC.CF is a borrow for subtraction: 0 means no borrow, so the complement is added with 1.
    const T carry_in = in.mode[0] ? T((w.carry >> l & 1) ^ (subtract ? 1u : 0u)) : T(subtract);
    const u128 sum = u128(x) + y + carry_in;
    value[l] = T(sum);
    carry_out |= u32(u32(sum >> (8 * sizeof(T))) ^ (subtract ? 1u : 0u)) << l;
  }
  store_active(w, in.ops[0], value);
  if (in.mode[1]) w.carry = (w.carry & ~w.active) | (carry_out & w.active);
}

template <class T>
Execute select_carry(Builder& b, bool multiply) {
  const Type t = b.type();
  if (!multiply) {
    b.regular(t, {t, t});
    return [](Warp& w, const Instr& in) {
      const T* x = w.reg<T>(in.ops[1]);
      run_with_carry<T>(
          w, in, [x](unsigned l) { return x[l]; }, w.reg<T>(in.ops[2]));
    };
  }
  const bool high = b.choice({"lo", "hi"}) == "hi";
  b.regular(t, {t, t, t});
  if (high && is_signed(t)) b.unsupported("signed .hi");
  if (high)
    return [](Warp& w, const Instr& in) {
      const T *x = w.reg<T>(in.ops[1]), *y = w.reg<T>(in.ops[2]);
      run_with_carry<T>(
          w, in, [=](unsigned l) { return mul_high(x[l], y[l]); }, w.reg<T>(in.ops[3]));
    };
  return [](Warp& w, const Instr& in) {
    const T *x = w.reg<T>(in.ops[1]), *y = w.reg<T>(in.ops[2]);
    run_with_carry<T>(
        w, in, [=](unsigned l) { return wrap_mul(x[l], y[l]); }, w.reg<T>(in.ops[3]));
  };
}

// Null if the instruction has nothing to do with the carry.
Execute select_extended_precision(Builder& b) {
  const std::string_view op = b.opcode();
  const bool reads = op == "addc" || op == "subc" || op == "madc";
  const bool writes = b.flag("cc");
  if (!reads && !writes) return nullptr;
  b.instr.mode[0] = reads;
  b.instr.mode[1] = writes;
  b.instr.mode[2] = op.starts_with("sub");
  const bool multiply = op.starts_with("mad");
  return size_of(b.type()) == 8 ? select_carry<u64>(b, multiply) : select_carry<u32>(b, multiply);
}

// bmsk: a mask of n bits from position p on. szext: extends the low n bits (PTX ISA 9.7.1.22-23).
constexpr u32 bit_mask(u32 p, u32 n, bool clamp) {
  if (clamp && p >= 32) return 0;
  p &= 31;
  const u32 end = clamp && n >= 32 ? 32 : p + (n & 31);
  return (~0u << p) & (end >= 32 ? ~0u : ~(~0u << end));
}
template <class T>
constexpr T extend(T x, u32 n, bool clamp) {
  if (clamp && n >= 32) return x;
  n &= 31;
  return n == 0 ? T(0) : T(T(u32(x) << (32 - n)) >> (32 - n));
}

Execute select_mask_or_extend(Builder& b, bool mask) {
  const bool clamp = b.choice({"clamp", "wrap"}) == "clamp";
  b.regular(b.type(), {b.type(), Type::kU32});
  if (mask)
    return clamp ? lanewise([](u32 p, u32 n) { return bit_mask(p, n, true); })
                 : lanewise([](u32 p, u32 n) { return bit_mask(p, n, false); });
  if (is_signed(b.type()))
    return clamp ? lanewise([](s32 x, u32 n) { return extend(x, n, true); })
                 : lanewise([](s32 x, u32 n) { return extend(x, n, false); });
  return clamp ? lanewise([](u32 x, u32 n) { return extend(x, n, true); })
               : lanewise([](u32 x, u32 n) { return extend(x, n, false); });
}

// and, or, xor, not on registers or predicates.
template <class Bits, class Mask>
Execute select_logic(Builder& b, Bits bits, Mask) {
  if (b.type() != Type::kPred) {
    b.regular(b.type(), {b.type(), b.type()});
    return with_bits(b, size_of(b.type()), bits);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    b.pred(b.operand(i));
    if (i && b.operand(i).negated) b.instr.mode[i] = 1;
  }
  return [](Warp& w, const Instr& in) {
    const u32 x = in.mode[1] ? ~w.pred(in.ops[1]) : w.pred(in.ops[1]);
    const u32 y = in.mode[2] ? ~w.pred(in.ops[2]) : w.pred(in.ops[2]);
    u32& d = w.pred(in.ops[0]);
    d = (d & ~w.active) | (Mask{}(x, y) & w.active);
  };
}

Execute select_not(Builder& b) {
  if (b.type() != Type::kPred)
    return b.regular(b.type(), {b.type()}),
           with_bits(b, size_of(b.type()), []<class T>(T) { return lanewise([](T x) { return T(~x); }); });
  b.pred(b.operand(0));
  b.pred(b.operand(1));
  return [](Warp& w, const Instr& in) {
    const u32 x = ~w.pred(in.ops[1]);
    u32& d = w.pred(in.ops[0]);
    d = (d & ~w.active) | (x & w.active);
  };
}

Execute select_funnel_shift(Builder& b) {
  const bool left = b.choice({"l", "r"}) == "l";
  const bool wrap = b.choice({"wrap", "clamp"}) == "wrap";
  b.regular(b.type(), {Type::kB32, Type::kB32, Type::kU32});  // d, low, high, amount
  if (left)
    return wrap ? lanewise([](u32 lo, u32 hi, u32 n) { return u32((u64{hi} << 32 | lo) << (n & 31) >> 32); })
                : lanewise([](u32 lo, u32 hi, u32 n) { return n >= 32 ? lo : u32((u64{hi} << 32 | lo) << n >> 32); });
  return wrap ? lanewise([](u32 lo, u32 hi, u32 n) { return u32((u64{hi} << 32 | lo) >> (n & 31)); })
              : lanewise([](u32 lo, u32 hi, u32 n) { return u32((u64{hi} << 32 | lo) >> std::min(n, 32u)); });
}

// dp4a / dp2a: dot products of small integers, accumulated (PTX ISA 9.7.1.24-25).
template <class A, class B, unsigned N>
u32 dot(u32 a, u32 b, u32 c) {
  for (unsigned i = 0; i < N; ++i) c += u32(s32(A(a >> (32 / N * i)))) * u32(s32(B(b >> (8 * i))));
  return c;
}

Execute select_dot(Builder& b) {
  const bool four = b.opcode() == "dp4a";
  const bool high = !four && b.choice({"lo", "hi"}) == "hi";
  const bool signed_a = is_signed(b.type(0)), signed_b = is_signed(b.type(1));
  b.regular(Type::kB32, {Type::kB32, Type::kB32, Type::kB32});
  if (four) {
    if (signed_a)
      return signed_b ? lanewise([](u32 x, u32 y, u32 z) { return dot<s8, s8, 4>(x, y, z); })
                      : lanewise([](u32 x, u32 y, u32 z) { return dot<s8, u8, 4>(x, y, z); });
    return signed_b ? lanewise([](u32 x, u32 y, u32 z) { return dot<u8, s8, 4>(x, y, z); })
                    : lanewise([](u32 x, u32 y, u32 z) { return dot<u8, u8, 4>(x, y, z); });
  }
  if (!signed_a || !signed_b) b.unsupported("dp2a of unsigned values");
  return high ? lanewise([](u32 x, u32 y, u32 z) { return dot<s16, s8, 2>(x, y >> 16, z); })
              : lanewise([](u32 x, u32 y, u32 z) { return dot<s16, s8, 2>(x, y, z); });
}

// sad: d = c + |a - b|
Execute select_sad(Builder& b) {
  b.regular(b.type(), {b.type(), b.type(), b.type()});
  return with_integer(b, b.type(), []<class T>(T) {
    return lanewise([](T x, T y, T z) { return wrap_add(z, x < y ? wrap_sub(y, x) : wrap_sub(x, y)); });
  });
}

}  // namespace

Execute select_integer(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "popc" || op == "clz" || op == "bfind") {
    const bool shift = op == "bfind" && b.flag("shiftamt");
    b.regular(Type::kU32, {b.type()});
    return with_integer(b, b.type(), [&]<class T>(T) {
      if (op == "popc") return lanewise([](T x) { return u32(std::popcount(Unsigned<T>(x))); });
      if (op == "clz") return lanewise([](T x) { return leading_zeros(x); });
      if (shift)
        return lanewise([](T x) {
          const u32 p = find_bit(x);
          return p == ~0u ? p : u32(8 * sizeof(T) - 1) - p;
        });
      return lanewise([](T x) { return find_bit(x); });
    });
  }
  if (op == "brev") return unary(b, []<class T>(T) { return lanewise([](T x) { return reverse_bits(x); }); });
  if (op == "bfe") {
    b.regular(b.type(), {b.type(), Type::kU32, Type::kU32});
    return with_integer(b, b.type(),
                        []<class T>(T) { return lanewise([](T x, u32 p, u32 n) { return extract_field(x, p, n); }); });
  }
  if (op == "bfi") {
    b.regular(b.type(), {b.type(), b.type(), Type::kU32, Type::kU32});
    return with_bits(b, size_of(b.type()), []<class T>(T) {
      return lanewise([](T x, T y, u32 p, u32 n) { return insert_field(x, y, p, n); });
    });
  }
  if (op == "prmt") {
    b.regular(b.type(), {Type::kB32, Type::kB32, Type::kB32});
    return lanewise([](u32 x, u32 y, u32 s) { return permute_bytes(x, y, s); });
  }
  if (op == "lop3") {
    b.result(b.operand(0), 4);
    for (std::size_t i = 1; i <= 3; ++i) b.source(b.operand(i), b.type());
    b.instr.imm = b.immediate(b.operand(4));
    return &run_lop3;
  }
  if (op == "shf") return select_funnel_shift(b);
  if (op == "shl" || op == "shr") {
    b.regular(b.type(), {b.type(), Type::kU32});
    return with_integer(b, b.type(), [&]<class T>(T) {
      return op == "shl" ? lanewise([](T x, u32 n) { return shift_left(x, n); })
                         : lanewise([](T x, u32 n) { return shift_right(x, n); });
    });
  }
  if (op == "and")
    return select_logic(
        b, []<class T>(T) { return lanewise([](T x, T y) { return T(x & y); }); }, [](u32 x, u32 y) { return x & y; });
  if (op == "or")
    return select_logic(
        b, []<class T>(T) { return lanewise([](T x, T y) { return T(x | y); }); }, [](u32 x, u32 y) { return x | y; });
  if (op == "xor")
    return select_logic(
        b, []<class T>(T) { return lanewise([](T x, T y) { return T(x ^ y); }); }, [](u32 x, u32 y) { return x ^ y; });
  if (op == "not") return select_not(b);
  if (op == "cnot") return unary(b, []<class T>(T) { return lanewise([](T x) { return T(x == 0); }); });
  if (op == "bmsk" || op == "szext") return select_mask_or_extend(b, op == "bmsk");
  if (op == "dp4a" || op == "dp2a") return select_dot(b);
  if (op == "sad") return select_sad(b);
  if (op == "mul24") return select_multiply24(b, false);
  if (op == "mad24") return select_multiply24(b, true);

  if (b.types().empty() || is_float(b.type())) return nullptr;
  if (const Execute extended = select_extended_precision(b)) return extended;
  if (op == "add") return select_add(b, false);
  if (op == "sub") return select_add(b, true);
  if (op == "mul") return select_multiply(b, false);
  if (op == "mad") return select_multiply(b, true);
  if (op == "div") return binary(b, []<class T>(T) { return lanewise([](T x, T y) { return divide(x, y); }); });
  if (op == "rem") return binary(b, []<class T>(T) { return lanewise([](T x, T y) { return remainder(x, y); }); });
  if (op == "min") return binary(b, []<class T>(T) { return lanewise([](T x, T y) { return std::min(x, y); }); });
  if (op == "max") return binary(b, []<class T>(T) { return lanewise([](T x, T y) { return std::max(x, y); }); });
  if (op == "abs")
    return unary(b, []<class T>(T) { return lanewise([](T x) { return x < T(0) ? wrap_sub(T(0), x) : x; }); });
  if (op == "neg") return unary(b, []<class T>(T) { return lanewise([](T x) { return wrap_sub(T(0), x); }); });
  return nullptr;
}

}  // namespace octet::softgpu
