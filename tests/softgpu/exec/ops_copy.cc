// Asynchronous copies: PTX ISA 9.7.9.25 (cp.async).

#include <algorithm>

#include "tests/softgpu/exec/addresses.h"

namespace octet::softgpu {
namespace {

// Both addresses; a second one does not fit Instr's single base and offset, so ops and mode hold:
// ops: destination, source, source size or predicate; imm: offsets (32 bits each); mode[2]: bytes;
// mode[3]: 0 full, 1 source size in ops[2], 2 ignore-source predicate in ops[2]
void run_copy_async(Warp& w, const Instr& in) {
  const auto address = [&](Slot slot, u8 base, s32 offset, u64* out) {
    Instr part = in;
    part.ops = &slot;
    part.mode[1] = base;
    part.imm = offset;
    lane_addresses(w, part, out);
  };
  u64 to[kLanes], from[kLanes];
  std::byte *destination[kLanes], *source[kLanes];
  address(in.ops[0], in.mode[0] & 15, s32(u64(in.imm)), to);
  address(in.ops[1], in.mode[0] >> 4, s32(u64(in.imm) >> 32), from);
  const u32 bytes = in.mode[2];
  w.resolve(in, Space::kShared, to, bytes, Access::kWrite, destination);
  u32 sizes[kLanes];
  u32 whole = 0, partial = 0;
  for_active(w.active, [&](unsigned l) {
    sizes[l] = in.mode[3] == 1 ? std::min(w.reg<u32>(in.ops[2])[l], bytes) : bytes;
    if (in.mode[3] == 2 && (w.pred(in.ops[2]) >> l & 1)) sizes[l] = 0;
    whole |= u32(sizes[l] == bytes) << l;
    partial |= u32(sizes[l] != bytes && sizes[l] != 0) << l;
  });
  const u32 active = w.active;
  if ((w.active = whole)) w.resolve(in, Space::kGlobal, from, bytes, Access::kRead, source);
  if ((w.active = partial)) {  // only what is read must be there: check the last byte, then the first
    u64 last[kLanes];
    std::byte* pointer[kLanes];
    for_active(partial, [&](unsigned l) { last[l] = from[l] + sizes[l] - 1; });
    w.resolve(in, Space::kGlobal, last, 1, Access::kRead, pointer);
    w.resolve(in, Space::kGlobal, from, 1, Access::kRead, pointer);
    for_active(partial, [&](unsigned l) { source[l] = pointer[l]; });
  }
  w.active = active;
  for_active(active, [&](unsigned l) {
    w.issue_copy({l, w.copy_group(l), bytes, sizes[l], destination[l], sizes[l] ? source[l] : destination[l]});
  });
}

}  // namespace

Execute select_copy_async(Builder& b) {
  if (!b.flag("async")) b.unsupported("only cp.async");
  if (b.flag("commit_group"))
    return [](Warp& w, const Instr&) { for_active(w.active, [&](unsigned l) { ++w.copy_group(l); }); };
  if (b.flag("wait_group")) {
    b.instr.imm = b.immediate(b.operand(0));
    return [](Warp& w, const Instr& in) { w.complete_copies(u32(in.imm)); };
  }
  if (b.flag("wait_all"))
    return [](Warp& w, const Instr&) {
      for_active(w.active, [&](unsigned l) { ++w.copy_group(l); });
      w.complete_copies(0);
    };
  ignore_hints(b);
  b.choice({"shared", "shared::cta"});
  b.flag("global");
  const Base to = b.address(b.operand(0));
  const s64 to_offset = b.instr.imm;
  const Base from = b.address(b.operand(1));
  const s64 from_offset = b.instr.imm;
  if (to_offset != s32(to_offset) || from_offset != s32(from_offset)) b.unsupported("offset");
  b.instr.imm = s64(u64(u32(to_offset)) | u64(u32(from_offset)) << 32);
  b.instr.mode[0] = u8(u8(to) | u8(from) << 4);
  b.instr.mode[2] = u8(b.immediate(b.operand(2)));
  if (b.operand_count() > 3) {
    const Operand& last = b.operand(3);
    if (last.kind == Operand::Kind::kRegister && b.register_bytes(last) == 0) {
      b.pred(last);
      b.instr.mode[3] = 2;
    } else {
      b.source(last, Type::kU32);
      b.instr.mode[3] = 1;
    }
  }
  return &run_copy_async;
}

}  // namespace octet::softgpu
