#include "tests/softgpu/exec/addresses.h"

#include <algorithm>

namespace octet::softgpu {

void lane_addresses(Warp& w, const Instr& in, u64* address) {
  const u64 offset = u64(in.imm);
  switch (Base(in.mode[1])) {
    case Base::kRegister64: {
      const u64* base = w.reg<u64>(in.ops[0]);
      for (unsigned l = 0; l < kLanes; ++l) address[l] = base[l] + offset;
      return;
    }
    case Base::kRegister32: {
      const u32* base = w.reg<u32>(in.ops[0]);
      for (unsigned l = 0; l < kLanes; ++l) address[l] = base[l] + offset;
      return;
    }
    case Base::kFrame:
      return void(std::fill_n(address, kLanes, w.frame().local_base + offset));
    case Base::kNone:
      return void(std::fill_n(address, kLanes, offset));
  }
}

Space take_space(Builder& b) {
  const std::string_view name =
      b.choice({"global", "shared", "shared::cta", "local", "param", "param::entry", "param::func", "const"});
  if (name.empty()) return Space::kGeneric;
  switch (name[0]) {
    case 'g':
      return Space::kGlobal;
    case 's':
      return Space::kShared;
    case 'l':
      return Space::kLocal;
    case 'p':
      return Space::kParam;
    default:
      return Space::kConst;
  }
}

void ignore_hints(Builder& b) {
  b.choice({"weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"});
  b.choice({"cta", "cluster", "gpu", "sys"});
  b.choice({"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"});
  b.ignore_prefix("L1::");
  b.ignore_prefix("L2::");
  b.flag("unified");
}

void take_address(Builder& b, Space space, const Operand& operand) {
  const Base base = b.address(operand);
  if (base == Base::kFrame) space = Space::kLocal;  // .param variables of a call, too
  b.instr.mode[0] = u8(space);
  b.instr.mode[1] = u8(base);
}

}  // namespace octet::softgpu
