// Matrix products: PTX ISA 9.7.14 (wmma, mma.sync).
// Products are exact and accumulate in float (or int), in the order of k; real tensor cores differ
// from that in the last bits.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

// The shape of a matrix product, from a modifier like m16n8k16.
struct Shape {
  unsigned m, n, k;
};
constexpr std::string_view kShapeNames[] = {"m16n8k4",   "m16n8k8",  "m16n8k16", "m16n8k32",
                                            "m16n16k16", "m32n8k16", "m8n32k16", "m16n16k8"};
constexpr Shape kShapes[] = {{16, 8, 4},   {16, 8, 8},  {16, 8, 16}, {16, 8, 32},
                             {16, 16, 16}, {32, 8, 16}, {8, 32, 16}, {16, 16, 8}};

u8 take_shape(Builder& b) {
  for (u8 i = 0; i < std::size(kShapes); ++i)
    if (b.flag(kShapeNames[i])) return i;
  b.unsupported("shape");
}

// Elements of one matrix, widened: float for floating-point operands, s32 bits for integers.
template <class A>
struct Matrix {
  A at[32 * 32];
};

// Where element `index` of lane `lane` lies in a matrix. Fragments of mma.sync have the layout of
// PTX ISA 9.7.14.5; those of wmma are opaque, so any bijection does. Some wmma fragments have
// twice as many registers as elements: they hold everything twice.
struct Layout {
  enum Kind : u8 { A, B, C, Opaque } kind;
  unsigned rows, columns;

  // `Per` is the number of elements in a 32-bit register.
  template <unsigned Per>
  unsigned offset(unsigned lane, unsigned index) const {
    const unsigned group = lane / 4, in_group = lane % 4, reg = index / Per, part = index % Per;
    switch (kind) {
      case A:
        return (group + 8 * (reg & 1)) * columns + in_group * Per + part + 4 * Per * (reg >> 1);
      case B:
        return (in_group * Per + part + 4 * Per * reg) * columns + group;
      case C:
        return (group + 8 * (index >> 1)) * columns + in_group * 2 + (index & 1);
      case Opaque:
        break;
    }
    const unsigned elements = rows * columns / kLanes;
    return lane * elements + (index < elements ? index : index - elements);
  }
};

// Reads a fragment from registers of packed elements of type E.
template <class E, class A>
void gather(Warp& w, const Slot* regs, unsigned count, const Layout& layout, Matrix<A>& matrix) {
  constexpr unsigned per = 4 / sizeof(E);
  for (unsigned r = 0; r < count; ++r) {
    const E* values = w.reg<E>(regs[r]);
    A wide[kLanes * per];
    for (unsigned i = 0; i < kLanes * per; ++i) wide[i] = A(values[i]);
    for (unsigned l = 0; l < kLanes; ++l)
      for (unsigned p = 0; p < per; ++p) matrix.at[layout.offset<per>(l, r * per + p)] = wide[l * per + p];
  }
}

// Narrows an accumulator; 64-bit ones stand for .satfinite.
template <class E, class A>
E narrow(A x) {
  if constexpr (std::is_same_v<A, s64>)
    return E(std::clamp<s64>(x, std::numeric_limits<E>::min(), std::numeric_limits<E>::max()));
  else
    return E(x);
}

template <class E, class A>
void scatter(Warp& w, const Slot* regs, unsigned count, const Layout& layout, const Matrix<A>& matrix) {
  constexpr unsigned per = 4 / sizeof(E);
  for (unsigned r = 0; r < count; ++r) {
    E* values = w.reg<E>(regs[r]);
    for (unsigned l = 0; l < kLanes; ++l)
      for (unsigned p = 0; p < per; ++p) values[l * per + p] = narrow<E>(matrix.at[layout.offset<per>(l, r * per + p)]);
  }
}

// c += a * b
template <unsigned N, class A>
void multiply_add(const Shape& shape, const Matrix<A>& a, const Matrix<A>& b, Matrix<A>& c) {
  for (unsigned i = 0; i < shape.m; ++i) {
    A row[N];
    std::memcpy(row, &c.at[i * N], sizeof row);
    for (unsigned k = 0; k < shape.k; ++k)
      for (unsigned j = 0; j < N; ++j) {
        if constexpr (std::is_floating_point_v<A>)  // the products are exact
          row[j] = std::fma(a.at[i * shape.k + k], b.at[k * N + j], row[j]);
        else
          row[j] += a.at[i * shape.k + k] * b.at[k * N + j];
      }
    std::memcpy(&c.at[i * N], row, sizeof row);
  }
}

// A tf32 operand: a float whose low mantissa bits are ignored.
struct Tf32 {
  u32 bits;
  operator float() const { return std::bit_cast<float>(bits & ~0x1fffu); }
};

// imm of a product holds the numbers of registers of d, a, b and c, and whether fragments are opaque.
template <class EA, class EB, class EC, class ED, class Accumulator>
struct MultiplyHandler {
  // ops: d..., a..., b..., c...
  static void run(Warp& w, const Instr& in) {
    const Shape& shape = kShapes[in.mode[0]];
    const auto f = std::bit_cast<std::array<u8, 8>>(in.imm);
    const bool opaque = f[4];
    const Slot *d = in.ops, *a = d + f[0], *b = a + f[1], *c = b + f[2];
    const auto kind = [&](Layout::Kind k) { return opaque ? Layout::Opaque : k; };
    Matrix<Accumulator> ma, mb, mc;
    gather<EA>(w, a, f[1], {kind(Layout::A), shape.m, shape.k}, ma);
    gather<EB>(w, b, f[2], {kind(Layout::B), shape.k, shape.n}, mb);
    gather<EC>(w, c, f[3], {kind(Layout::C), shape.m, shape.n}, mc);
    switch (shape.n) {
      case 8:
        multiply_add<8>(shape, ma, mb, mc);
        break;
      case 16:
        multiply_add<16>(shape, ma, mb, mc);
        break;
      default:
        multiply_add<32>(shape, ma, mb, mc);
        break;
    }
    scatter<ED>(w, d, f[0], {kind(Layout::C), shape.m, shape.n}, mc);
  }
};

// mma.sync.m16n8k16 of 16-bit floats with float accumulators, the shape that kernels use most. Eight lanes' worth of a
// register are eight neighbours of a row of A, or of a column of B (PTX ISA 9.7.14.5.8). The order of operations is
// that of MultiplyHandler.
template <class E>
void run_m16n8k16(Warp& w, const Instr& in) {
  const Slot *d = in.ops, *a = d + 4, *b = a + 4, *c = b + 2;
  float rows[16][16], columns[16][8], sums[16][8];
  const auto widen = [&w](Slot slot, float* wide) {
    const E* values = w.reg<E>(slot);
    for (unsigned i = 0; i < 2 * kLanes; ++i) wide[i] = float(values[i]);
  };
  for (unsigned r = 0; r < 4; ++r) {
    float wide[8][8];
    widen(a[r], &wide[0][0]);
    for (unsigned g = 0; g < 8; ++g) std::memcpy(&rows[g + 8 * (r & 1)][8 * (r >> 1)], wide[g], sizeof wide[g]);
  }
  for (unsigned r = 0; r < 2; ++r) {
    float wide[8][8];
    widen(b[r], &wide[0][0]);
    for (unsigned k = 0; k < 8; ++k)
      for (unsigned n = 0; n < 8; ++n) columns[8 * r + k][n] = wide[n][k];
  }
  for (unsigned r = 0; r < 4; ++r) {
    const float* values = w.reg<float>(c[r]);
    for (unsigned l = 0; l < kLanes; ++l) sums[l / 4 + 8 * (r >> 1)][2 * (l % 4) + (r & 1)] = values[l];
  }
  for (unsigned i = 0; i < 16; ++i)
    for (unsigned k = 0; k < 16; ++k)
      for (unsigned n = 0; n < 8; ++n) sums[i][n] = std::fma(rows[i][k], columns[k][n], sums[i][n]);
  for (unsigned r = 0; r < 4; ++r) {
    float* values = w.reg<float>(d[r]);
    for (unsigned l = 0; l < kLanes; ++l) values[l] = sums[l / 4 + 8 * (r >> 1)][2 * (l % 4) + (r & 1)];
  }
}

template <class Accumulator>
Execute select_integer_product(Builder& b, Type a, Type b_type) {
  if (a == Type::kS8 && b_type == Type::kS8) return &MultiplyHandler<s8, s8, s32, s32, Accumulator>::run;
  if (a == Type::kU8 && b_type == Type::kU8) return &MultiplyHandler<u8, u8, s32, s32, Accumulator>::run;
  if (a == Type::kS8 && b_type == Type::kU8) return &MultiplyHandler<s8, u8, s32, s32, Accumulator>::run;
  if (a == Type::kU8 && b_type == Type::kS8) return &MultiplyHandler<u8, s8, s32, s32, Accumulator>::run;
  b.unsupported("operand types");
}

template <class EC, class ED>
Execute select_float_product(Builder& b, Type a, Type b_type) {
  if (a == Type::kF16 && b_type == a) return &MultiplyHandler<Half, Half, EC, ED, float>::run;
  if (a == Type::kBF16 && b_type == a) return &MultiplyHandler<BFloat, BFloat, EC, ED, float>::run;
  if (a == Type::kTF32 && b_type == a) return &MultiplyHandler<Tf32, Tf32, EC, ED, float>::run;
  b.unsupported("operand types");
}

// mma.sync and wmma.mma
Execute select_multiply(Builder& b, bool opaque) {
  if (!b.flag("sync") || !b.flag("aligned")) b.unsupported("only .sync.aligned");
  const u8 shape = take_shape(b);
  // Layouts: mma.sync always has row.col; for wmma the fragments were loaded accordingly.
  b.flag("row");
  b.flag("col");
  const bool saturate = b.flag("satfinite");
  // mma lists the types of d, a, b, c; wmma of halves lists only d and c.
  const auto& t = b.types();
  const Type d = b.type(0), c = t.back();
  const Type a = t.size() == 4 ? t[1] : Type::kF16, bt = t.size() == 4 ? t[2] : Type::kF16;
  std::array<u8, 8> fragments{};
  const auto push = [&](std::size_t operand, bool result) {
    const auto elements = b.elements(b.operand(operand));
    for (const Operand* e : elements) {
      if (result)
        b.result(*e, 4);
      else
        b.source(*e, Type::kB32);
    }
    fragments[operand] = u8(elements.size());
  };
  push(0, true);
  for (std::size_t i = 1; i < 4; ++i) push(i, false);
  fragments[4] = opaque;
  b.instr.imm = std::bit_cast<s64>(fragments);
  b.instr.mode[0] = shape;
  b.instr.flow = Flow::kConverged;
  if (d == Type::kS32 && c == Type::kS32)
    return saturate ? select_integer_product<s64>(b, a, bt) : select_integer_product<s32>(b, a, bt);
  if (saturate) b.unsupported(".satfinite");
  if (d == Type::kF32 && c == Type::kF32) {
    if (!opaque && kShapeNames[shape] == "m16n8k16" && a == bt) {
      if (a == Type::kBF16) return &run_m16n8k16<BFloat>;
      if (a == Type::kF16) return &run_m16n8k16<Half>;
    }
    return select_float_product<float, float>(b, a, bt);
  }
  if (d == Type::kF16 && c == Type::kF16) return select_float_product<Half, Half>(b, a, bt);
  if (d == Type::kF32 && c == Type::kF16) return select_float_product<Half, float>(b, a, bt);
  if (d == Type::kF16 && c == Type::kF32) return select_float_product<float, Half>(b, a, bt);
  b.unsupported("accumulator type");
}

// ---- wmma.load, wmma.store ----

// ops: base, stride, tile, registers...; mode: space, base kind, number of registers
struct Tile {
  u8 rows, columns;
  u16 row_major;
};

template <class E, bool IsLoad>
struct TileHandler {
  static void run(Warp& w, const Instr& in) {
    const Tile tile = std::bit_cast<Tile>(in.ops[2]);
    const Slot* regs = in.ops + 3;
    constexpr unsigned per = 4 / sizeof(E);
    const unsigned lane0 = unsigned(std::countr_zero(w.active));
    u64 base = u64(in.imm);
    if (Builder::Base(in.mode[1]) == Builder::Base::kRegister64)
      base += w.reg<u64>(in.ops[0])[lane0];
    else if (Builder::Base(in.mode[1]) == Builder::Base::kRegister32)
      base += w.reg<u32>(in.ops[0])[lane0];
    const u64 stride = w.reg<u32>(in.ops[1])[lane0];
    const Layout layout{Layout::Opaque, tile.rows, tile.columns};
    const unsigned column_bits = unsigned(std::countr_zero(tile.columns));
    const unsigned elements = tile.rows * tile.columns / kLanes;
    for (unsigned index = 0; index < in.mode[2] * per; ++index) {
      if (!IsLoad && index >= elements) break;
      u64 address[kLanes];
      std::byte* pointer[kLanes];
      for (unsigned l = 0; l < kLanes; ++l) {
        const unsigned offset = layout.offset<per>(l, index);
        const u64 row = offset >> column_bits, column = offset & (tile.columns - 1u);
        address[l] = base + sizeof(E) * (tile.row_major ? row * stride + column : column * stride + row);
      }
      w.resolve(in, Space(in.mode[0]), address, sizeof(E), IsLoad ? Access::kRead : Access::kWrite, pointer);
      E* values = w.reg<E>(regs[index / per]) + index % per;
      for_active(w.active, [&](unsigned l) {
        if (IsLoad)
          std::memcpy(&values[l * per], pointer[l], sizeof(E));
        else
          std::memcpy(pointer[l], &values[l * per], sizeof(E));
      });
    }
  }
};

Execute select_tile(Builder& b) {
  const bool load = b.flag("load");
  if (!load && !b.flag("store")) b.unsupported("wmma form");
  if (!b.flag("sync") || !b.flag("aligned")) b.unsupported("only .sync.aligned");
  const std::string_view which = b.choice({"a", "b", "c", "d"});
  const Shape& shape = kShapes[take_shape(b)];
  const bool row_major = b.choice({"row", "col"}) == "row";
  const std::string_view space_name = b.choice({"global", "shared", "shared::cta"});
  const Space space = space_name.empty() ? Space::kGeneric : space_name[0] == 'g' ? Space::kGlobal : Space::kShared;
  const unsigned rows = which == "b" ? shape.k : shape.m, columns = which == "a" ? shape.k : shape.n;
  b.instr.mode[0] = u8(space);
  b.instr.mode[1] = u8(b.address(b.operand(load ? 1 : 0)));
  Operand dense{.kind = Operand::Kind::kInteger};
  dense.bits = row_major ? columns : rows;
  b.source(b.operand_count() > 2 ? b.operand(2) : dense, Type::kU32);
  b.raw(std::bit_cast<u32>(Tile{u8(rows), u8(columns), row_major}));
  const auto registers = b.elements(b.operand(load ? 0 : 1));
  b.instr.mode[2] = u8(registers.size());
  for (const Operand* r : registers) {
    if (load)
      b.result(*r, 4);
    else
      b.source(*r, Type::kB32);
  }
  b.instr.flow = Flow::kConverged;
  switch (size_of(b.type())) {
    case 1:
      return load ? &TileHandler<u8, true>::run : &TileHandler<u8, false>::run;
    case 2:
      return load ? &TileHandler<u16, true>::run : &TileHandler<u16, false>::run;
    case 4:
      return load ? &TileHandler<u32, true>::run : &TileHandler<u32, false>::run;
    default:
      b.unsupported("type");
  }
}

}  // namespace

Execute select_tensor(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "mma") return select_multiply(b, false);
  if (op == "wmma") return b.flag("mma") ? select_multiply(b, true) : select_tile(b);
  return nullptr;
}

}  // namespace octet::softgpu
