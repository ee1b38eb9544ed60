// Comparison and selection: PTX ISA 9.7.6 (and 9.7.7 for half precision).

#include <cmath>

#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

enum class Relation : u8 { kEq, kNe, kLt, kLe, kGt, kGe, kEqu, kNeu, kLtu, kLeu, kGtu, kGeu, kNum, kNan };
constexpr std::string_view kRelations[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                           "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};

template <class T>
auto comparable(T x) {
  if constexpr (is_narrow_float<T>)
    return float(x);
  else
    return x;
}

template <Relation R, class T>
bool holds(T left, T right) {
  const auto a = comparable(left), b = comparable(right);
  const bool unordered = a != a || b != b;  // never true for integers
  switch (R) {
    case Relation::kEq:
      return a == b;
    case Relation::kNe:
      return a != b && !unordered;
    case Relation::kLt:
      return a < b;
    case Relation::kLe:
      return a <= b;
    case Relation::kGt:
      return a > b;
    case Relation::kGe:
      return a >= b;
    case Relation::kEqu:
      return a == b || unordered;
    case Relation::kNeu:
      return a != b;
    case Relation::kLtu:
      return a < b || unordered;
    case Relation::kLeu:
      return a <= b || unordered;
    case Relation::kGtu:
      return a > b || unordered;
    case Relation::kGeu:
      return a >= b || unordered;
    case Relation::kNum:
      return !unordered;
    case Relation::kNan:
      return unordered;
  }
  return false;
}

// Lane mask of a comparison of two registers.
using Compare = u32 (*)(Warp&, const Slot*);

template <class F, class... S>
constexpr Compare compare_of(bool (F::*)(S...) const) {
  return &MaskHandler<F, S...>::evaluate;
}
template <class F>
constexpr Compare compare(F) {
  return compare_of<F>(&F::operator());
}

template <class T, bool Ftz>
Compare compare_for(Relation relation) {
  const auto with = []<Relation R>(std::integral_constant<Relation, R>) {
    return compare([](T a, T b) -> bool {
      if constexpr (Ftz)
        return holds<R>(flush_subnormal(a), flush_subnormal(b));
      else
        return holds<R>(a, b);
    });
  };
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    Compare found = nullptr;
    ((std::size_t(relation) == I ? void(found = with(std::integral_constant<Relation, Relation(I)>{})) : void()), ...);
    return found;
  }
  (std::make_index_sequence<14>{});
}

Relation take_relation(Builder& b) {
  for (std::size_t i = 0; i < std::size(kRelations); ++i)
    if (b.flag(kRelations[i])) return Relation(i);
  // Unsigned comparisons of integers by their own names.
  if (b.flag("lo")) return Relation::kLt;
  if (b.flag("ls")) return Relation::kLe;
  if (b.flag("hi")) return Relation::kGt;
  if (b.flag("hs")) return Relation::kGe;
  b.unsupported("comparison");
}

Compare compare_of_type(Builder& b, Type type, Relation relation) {
  const bool ftz = b.flag("ftz");
  switch (type) {
    case Type::kB16:
    case Type::kU16:
      return compare_for<u16, false>(relation);
    case Type::kB32:
    case Type::kU32:
      return compare_for<u32, false>(relation);
    case Type::kB64:
    case Type::kU64:
      return compare_for<u64, false>(relation);
    case Type::kS16:
      return compare_for<s16, false>(relation);
    case Type::kS32:
      return compare_for<s32, false>(relation);
    case Type::kS64:
      return compare_for<s64, false>(relation);
    case Type::kF16:
      return compare_for<Half, false>(relation);
    case Type::kBF16:
      return compare_for<BFloat, false>(relation);
    case Type::kF32:
      return ftz ? compare_for<float, true>(relation) : compare_for<float, false>(relation);
    case Type::kF64:
      return compare_for<double, false>(relation);
    default:
      b.unsupported("type");
  }
}

// How .and/.or/.xor combines a comparison with predicate c.
u8 take_combination(Builder& b) {
  const std::string_view name = b.choice({"and", "or", "xor"});
  return name == "and" ? 1 : name == "or" ? 2 : name == "xor" ? 3 : 0;
}

u32 combine(u8 how, u32 a, u32 b) { return how == 1 ? a & b : how == 2 ? a | b : how == 3 ? a ^ b : a; }

void store(Warp& w, Slot slot, u32 mask) {
  u32& d = w.pred(slot);
  d = (d & ~w.active) | (mask & w.active);
}

// ops: p, q, a, b, c; imm: the Compare; mode: combination, c negated.
void run_set_predicate(Warp& w, const Instr& in) {
  const u32 result = reinterpret_cast<Compare>(in.imm)(w, in.ops + 2);
  const u32 c = in.mode[1] ? ~w.pred(in.ops[4]) : w.pred(in.ops[4]);
  const u32 p = combine(in.mode[0], result, c), q = combine(in.mode[0], ~result, c);
  store(w, in.ops[0], p);
  store(w, in.ops[1], q);
}

// setp.f16x2: p and q are the comparisons of the two halves.
template <class T, bool High>
Compare compare_half(Relation relation) {
  const auto with = []<Relation R>(std::integral_constant<Relation, R>) {
    return compare([](Pair<T> a, Pair<T> b) -> bool { return High ? holds<R>(a.hi, b.hi) : holds<R>(a.lo, b.lo); });
  };
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    Compare found = nullptr;
    ((std::size_t(relation) == I ? void(found = with(std::integral_constant<Relation, Relation(I)>{})) : void()), ...);
    return found;
  }
  (std::make_index_sequence<14>{});
}

void run_set_predicate_pair(Warp& w, const Instr& in) {
  const auto* compares = reinterpret_cast<const Compare*>(in.imm);
  const u32 c = in.mode[1] ? ~w.pred(in.ops[4]) : w.pred(in.ops[4]);
  const u32 lo = compares[0](w, in.ops + 2), hi = compares[1](w, in.ops + 2);
  store(w, in.ops[0], combine(in.mode[0], lo, c));
  store(w, in.ops[1], combine(in.mode[0], hi, c));
}

// Comparison functions of pairs, two per relation, kept where instructions can point to them.
template <class T>
const Compare* pair_compares(Relation relation) {
  static Compare table[14][2];
  auto& entry = table[std::size_t(relation)];
  entry[0] = compare_half<T, false>(relation);
  entry[1] = compare_half<T, true>(relation);
  return entry;
}

Execute select_set_predicate(Builder& b) {
  const Relation relation = take_relation(b);
  const Type type = b.type();
  b.instr.mode[0] = take_combination(b);
  const Operand& d = b.operand(0);
  const bool two = d.kind == Operand::Kind::kPredPair;
  const Operand sink{.kind = Operand::Kind::kSink};
  b.pred(two ? d.elements[0] : d);
  b.pred(two ? d.elements[1] : sink);
  b.source(b.operand(1), type);
  b.source(b.operand(2), type);
  b.pred(b.instr.mode[0] ? b.operand(3) : sink);
  b.instr.mode[1] = b.instr.mode[0] && b.operand(3).negated;
  if (type == Type::kF16x2 || type == Type::kBF16x2) {
    b.flag("ftz");
    b.instr.imm = s64(type == Type::kF16x2 ? pair_compares<Half>(relation) : pair_compares<BFloat>(relation));
    return &run_set_predicate_pair;
  }
  b.instr.imm = s64(reinterpret_cast<std::intptr_t>(compare_of_type(b, type, relation)));
  return &run_set_predicate;
}

// set: d = true ? all ones (integers) or 1.0 (floats) : 0.
template <class D>
void run_set(Warp& w, const Instr& in) {
  u32 mask = reinterpret_cast<Compare>(in.imm)(w, in.ops + 1);
  const u32 c = in.mode[1] ? ~w.pred(in.ops[3]) : w.pred(in.ops[3]);
  mask = combine(in.mode[0], mask, c);
  D* d = w.reg<D>(in.ops[0]);
  D yes;
  if constexpr (std::is_integral_v<D>)
    yes = D(-1);
  else
    yes = D(1.f);
  for_active(w.active, [&](unsigned l) { d[l] = mask >> l & 1 ? yes : D(0.f); });
}

template <class D>
void run_set_pair(Warp& w, const Instr& in) {
  const auto* compares = reinterpret_cast<const Compare*>(in.imm);
  const u32 lo = compares[0](w, in.ops + 1), hi = compares[1](w, in.ops + 1);
  Pair<D>* d = w.reg<Pair<D>>(in.ops[0]);
  D yes, no;
  if constexpr (std::is_integral_v<D>)
    yes = D(-1), no = 0;
  else
    yes = D(1.f), no = D(0.f);
  for_active(w.active, [&](unsigned l) { d[l] = {lo >> l & 1 ? yes : no, hi >> l & 1 ? yes : no}; });
}

Execute select_set(Builder& b) {
  const Relation relation = take_relation(b);
  const Type d = b.type(0), s = b.type(1);
  b.instr.mode[0] = take_combination(b);
  b.result(b.operand(0), size_of(d));
  b.source(b.operand(1), s);
  b.source(b.operand(2), s);
  b.pred(b.instr.mode[0] ? b.operand(3) : Operand{.kind = Operand::Kind::kSink});
  b.instr.mode[1] = b.instr.mode[0] && b.operand(3).negated;
  if (s == Type::kF16x2 || s == Type::kBF16x2) {
    b.flag("ftz");
    if (b.instr.mode[0]) b.unsupported("combination with a predicate");
    if (s == Type::kF16x2) {
      b.instr.imm = s64(pair_compares<Half>(relation));
      return d == Type::kF16x2 ? &run_set_pair<Half> : &run_set_pair<u16>;
    }
    b.instr.imm = s64(pair_compares<BFloat>(relation));
    return d == Type::kBF16x2 ? &run_set_pair<BFloat> : &run_set_pair<u16>;
  }
  b.instr.imm = s64(reinterpret_cast<std::intptr_t>(compare_of_type(b, s, relation)));
  switch (d) {
    case Type::kU16:
    case Type::kS16:
      return &run_set<u16>;
    case Type::kU32:
    case Type::kS32:
      return &run_set<u32>;
    case Type::kF16:
      return &run_set<Half>;
    case Type::kBF16:
      return &run_set<BFloat>;
    case Type::kF32:
      return &run_set<float>;
    default:
      b.unsupported("type");
  }
}

template <class T>
void run_select(Warp& w, const Instr& in) {
  T* d = w.reg<T>(in.ops[0]);
  const T *a = w.reg<T>(in.ops[1]), *c = w.reg<T>(in.ops[2]);
  const u32 p = w.pred(in.ops[3]), active = w.active;
  for (unsigned l = 0; l < kLanes; ++l) {
    const T value = p >> l & 1 ? a[l] : c[l];
    d[l] = active >> l & 1 ? value : d[l];
  }
}

}  // namespace

Execute select_compare(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "setp") return select_set_predicate(b);
  if (op == "set") return select_set(b);
  if (op == "selp") {
    b.result(b.operand(0), size_of(b.type()));
    b.source(b.operand(1), b.type());
    b.source(b.operand(2), b.type());
    b.pred(b.operand(3));
    if (b.operand(3).negated) b.unsupported("negated predicate");
    return with_bits(b, size_of(b.type()), []<class T>(T) -> Execute { return &run_select<T>; });
  }
  if (op == "slct") {  // d = c >= 0 ? a : b
    b.regular(b.type(0), {b.type(0), b.type(0), b.type(1)});
    const bool of_float = b.type(1) == Type::kF32;
    b.flag("ftz");
    return with_bits(b, size_of(b.type(0)), [&]<class T>(T) {
      return of_float ? lanewise([](T x, T y, float c) { return c >= 0 ? x : y; })
                      : lanewise([](T x, T y, s32 c) { return c >= 0 ? x : y; });
    });
  }
  return nullptr;
}

}  // namespace octet::softgpu
