// Moves of 8x8 matrices between registers and shared memory: PTX ISA 9.7.14.5.15 (ldmatrix, stmatrix, movmatrix).

#include <cstring>

#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

void copy_matrix(const u16* from, u16* to, bool transposed) {
  for (unsigned i = 0; i < 8; ++i)
    for (unsigned j = 0; j < 8; ++j) to[8 * i + j] = transposed ? from[8 * j + i] : from[8 * i + j];
}

// ops: base, registers...; mode: base kind, matrices, transposed. Lane 8i+r gives row r of matrix i.
template <bool IsLoad>
void run_matrix_rows(Warp& w, const Instr& in) {
  const unsigned count = in.mode[1];
  u64 address[kLanes];
  std::byte* row[kLanes];
  for (unsigned l = 0; l < kLanes; ++l) {
    address[l] = u64(in.imm);
    if (Builder::Base(in.mode[0]) == Builder::Base::kRegister64)
      address[l] += w.reg<u64>(in.ops[0])[l];
    else if (Builder::Base(in.mode[0]) == Builder::Base::kRegister32)
      address[l] += w.reg<u32>(in.ops[0])[l];
  }
  const u32 active = w.active;
  w.active &= count == 4 ? kAllLanes : (1u << (8 * count)) - 1;
  w.resolve(in, Space::kShared, address, 16, IsLoad ? Access::kRead : Access::kWrite, row);
  w.active = active;
  for (unsigned i = 0; i < count; ++i) {
    u16* fragment = w.reg<u16>(in.ops[1 + i]);  // eight lanes hold a row, or, transposed, a column
    u16 matrix[8][8];
    if (!IsLoad) copy_matrix(fragment, &matrix[0][0], in.mode[2]);
    for (unsigned r = 0; r < 8; ++r) {
      if (IsLoad)
        std::memcpy(matrix[r], row[8 * i + r], sizeof matrix[r]);
      else
        std::memcpy(row[8 * i + r], matrix[r], sizeof matrix[r]);
    }
    if (IsLoad) copy_matrix(&matrix[0][0], fragment, in.mode[2]);
  }
}

Execute select_matrix_rows(Builder& b) {
  const bool load = b.opcode() == "ldmatrix";
  if (!b.flag("sync") || !b.flag("aligned") || !b.flag("m8n8")) b.unsupported("only .sync.aligned.m8n8");
  const std::string_view count = b.choice({"x1", "x2", "x4"});
  b.instr.mode[1] = u8(count[1] - '0');
  b.instr.mode[2] = b.flag("trans");
  b.choice({"shared", "shared::cta"});
  if (b.type() != Type::kB16) b.unsupported("type");
  b.instr.mode[0] = u8(b.address(b.operand(load ? 1 : 0)));
  for (const Operand* r : b.elements(b.operand(load ? 0 : 1))) {
    if (load)
      b.result(*r, 4);
    else
      b.source(*r, Type::kB32);
  }
  b.instr.flow = Flow::kConverged;
  return load ? &run_matrix_rows<true> : &run_matrix_rows<false>;
}

// movmatrix: transposes an 8x8 matrix of 16-bit elements held in registers.
Execute select_move_matrix(Builder& b) {
  if (!b.flag("sync") || !b.flag("aligned") || !b.flag("m8n8") || !b.flag("trans")) b.unsupported("form");
  b.regular(b.type() == Type::kB16 ? Type::kB32 : Type::kNone, {Type::kB32});
  b.instr.flow = Flow::kConverged;
  return [](Warp& w, const Instr& in) {
    const u16* s = w.reg<u16>(in.ops[1]);
    u16* d = w.reg<u16>(in.ops[0]);
    u16 transposed[2 * kLanes];
    copy_matrix(s, transposed, true);
    std::memcpy(d, transposed, sizeof transposed);
  };
}

}  // namespace

Execute select_matrix_move(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "ldmatrix" || op == "stmatrix") return select_matrix_rows(b);
  if (op == "movmatrix") return select_move_matrix(b);
  return nullptr;
}

}  // namespace octet::softgpu
