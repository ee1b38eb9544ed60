// Data movement: PTX ISA 9.7.9 (mov, ld, st, cvta, ...).

#include <atomic>
#include <cmath>

#include "tests/softgpu/exec/addresses.h"

namespace octet::softgpu {
namespace {

// ---- ld, st ----

template <class Memory, class Reg>
void run_load(Warp& w, const Instr& in) {
  u64 address[kLanes];
  std::byte* pointer[kLanes];
  lane_addresses(w, in, address);
  const unsigned count = in.mode[2];
  w.resolve(in, Space(in.mode[0]), address, unsigned(sizeof(Memory)) * count, Access::kRead, pointer);
  for (unsigned k = 0; k < count; ++k) {
    Reg* d = w.reg<Reg>(in.ops[1 + k]);
    const auto read = [&](unsigned l) {
      Memory value;
      std::memcpy(&value, pointer[l] + k * sizeof(Memory), sizeof value);
      d[l] = Reg(value);
    };
    for_active(w.active, read);
  }
}

template <class Memory, class Reg>
void run_store(Warp& w, const Instr& in) {
  u64 address[kLanes];
  std::byte* pointer[kLanes];
  lane_addresses(w, in, address);
  const unsigned count = in.mode[2];
  w.resolve(in, Space(in.mode[0]), address, unsigned(sizeof(Memory)) * count, Access::kWrite, pointer);
  for (unsigned k = 0; k < count; ++k) {
    const Reg* s = w.reg<Reg>(in.ops[1 + k]);
    for_active(w.active, [&](unsigned l) {
      const Memory value = Memory(s[l]);
      std::memcpy(pointer[l] + k * sizeof(Memory), &value, sizeof value);
    });
  }
}

template <template <class, class> class Handler>
Execute with_memory_type(Builder& b, Type type, unsigned register_bytes) {
  const auto in_register = [&]<class M>(M) -> Execute {
    switch (register_bytes) {
      case 2:
        return Handler<M, u16>::run;
      case 4:
        return Handler<M, u32>::run;
      case 8:
        return Handler<M, u64>::run;
      default:
        b.unsupported("register width");
    }
  };
  switch (type) {
    case Type::kS8:
      return in_register(s8{});
    case Type::kS16:
      return in_register(s16{});
    case Type::kS32:
      return in_register(s32{});
    default:
      break;
  }
  switch (size_of(type)) {
    case 1:
      return in_register(u8{});
    case 2:
      return in_register(u16{});
    case 4:
      return in_register(u32{});
    case 8:
      return in_register(u64{});
    default:
      b.unsupported("type");
  }
}

template <class M, class R>
struct Load {
  static void run(Warp& w, const Instr& in) { run_load<M, R>(w, in); }
};
template <class M, class R>
struct Store {
  static void run(Warp& w, const Instr& in) { run_store<M, R>(w, in); }
};

Execute select_load_store(Builder& b) {
  const bool load = b.opcode() != "st";
  const Space space = take_space(b);
  ignore_hints(b);
  const std::string_view vector = b.choice({"v2", "v4", "v8"});
  const unsigned count = vector.empty() ? 1 : unsigned(vector[1] - '0');
  const Type type = b.type();
  const auto values = b.elements(b.operand(load ? 0 : 1));
  if (values.size() != count) b.unsupported("vector length");
  take_address(b, space, b.operand(load ? 1 : 0));
  b.instr.mode[2] = u8(count);
  unsigned register_bytes = 0;
  const unsigned natural = std::max(size_of(type), 2u);
  for (const Operand* value : values) {
    // All registers of a vector have one width, which sinks and constants follow.
    if (value->kind == Operand::Kind::kRegister) register_bytes = b.register_bytes(*value);
  }
  if (register_bytes == 0) register_bytes = natural;
  if (register_bytes < size_of(type)) b.unsupported("register too narrow");
  for (const Operand* value : values) {
    if (load)
      b.result(*value, register_bytes);
    else
      b.source(*value, register_bytes == 8 ? Type::kB64 : register_bytes == 4 ? Type::kB32 : Type::kB16);
  }
  return load ? with_memory_type<Load>(b, type, register_bytes) : with_memory_type<Store>(b, type, register_bytes);
}

// ---- mov, cvta ----

// mov.b64 d, {lo, hi}: ops: d, pieces from the least significant on
template <class Whole, class Piece>
void run_pack(Warp& w, const Instr& in) {
  Whole value[kLanes] = {};
  for (unsigned p = 0; p < sizeof(Whole) / sizeof(Piece); ++p) {
    const Piece* piece = w.reg<Piece>(in.ops[1 + p]);
    for (unsigned l = 0; l < kLanes; ++l) value[l] |= Whole(Whole(piece[l]) << (8 * sizeof(Piece) * p));
  }
  store_active(w, in.ops[0], value);
}

// mov.b64 {lo, hi}, s: ops: s, pieces
template <class Whole, class Piece>
void run_unpack(Warp& w, const Instr& in) {
  const Whole* whole = w.reg<Whole>(in.ops[0]);
  for (unsigned p = 0; p < sizeof(Whole) / sizeof(Piece); ++p) {
    Piece value[kLanes];
    for (unsigned l = 0; l < kLanes; ++l) value[l] = Piece(whole[l] >> (8 * sizeof(Piece) * p));
    store_active(w, in.ops[1 + p], value);
  }
}

Execute select_repack(Builder& b, bool pack, unsigned bytes, unsigned piece_bytes) {
  if (bytes == 4 && piece_bytes == 2) return pack ? &run_pack<u32, u16> : &run_unpack<u32, u16>;
  if (bytes == 8 && piece_bytes == 4) return pack ? &run_pack<u64, u32> : &run_unpack<u64, u32>;
  if (bytes == 8 && piece_bytes == 2) return pack ? &run_pack<u64, u16> : &run_unpack<u64, u16>;
  b.unsupported("vector of these widths");
}

Type bits_type(unsigned bytes) {
  switch (bytes) {
    case 2:
      return Type::kB16;
    case 4:
      return Type::kB32;
    default:
      return Type::kB64;
  }
}

Execute select_move(Builder& b) {
  const Operand &d = b.operand(0), &s = b.operand(1);
  const unsigned bytes = size_of(b.type());
  if (b.type() == Type::kPred) {
    b.pred(d);
    b.pred(s);
    return [](Warp& w, const Instr& in) {
      const u32 value = w.pred(in.ops[1]);
      u32& p = w.pred(in.ops[0]);
      p = (p & ~w.active) | (value & w.active);
    };
  }
  if (d.kind == Operand::Kind::kVector || s.kind == Operand::Kind::kVector) {
    const bool pack = s.kind == Operand::Kind::kVector;
    const auto& pieces = pack ? s.elements : d.elements;
    const unsigned piece_bytes = bytes / unsigned(pieces.size());
    if (pack)
      b.result(d, bytes);
    else
      b.source(s, bits_type(bytes));
    for (const Operand& piece : pieces) {
      if (pack)
        b.source(piece, bits_type(piece_bytes));
      else
        b.result(piece, piece_bytes);
    }
    return select_repack(b, pack, bytes, piece_bytes);
  }
  if (s.kind == Operand::Kind::kSpecial) {
    b.result(d, bytes);
    const Execute read = select_special(s.name, bytes);
    if (!read) b.unsupported("special register");
    return read;
  }
  if (s.kind == Operand::Kind::kSymbol && s.variable && b.in_frame(*s.variable)) {
    b.result(d, bytes);
    b.instr.imm = s64(s.variable->offset) + s.offset;
    return with_bits(b, bytes, []<class T>(T) -> Execute {
      return [](Warp& w, const Instr& in) {
        T* out = w.reg<T>(in.ops[0]);
        const T value = T(w.frame().local_base + u64(in.imm));
        for_active(w.active, [&](unsigned l) { out[l] = value; });
      };
    });
  }
  b.regular(b.type(), {b.type()});
  return with_bits(b, bytes, []<class T>(T) { return lanewise([](T x) { return x; }); });
}

// cvta: adds or removes the window of a state space.
Execute select_convert_address(Builder& b) {
  const bool to_space = b.flag("to");
  const Space space = take_space(b);
  const u64 window = space == Space::kShared  ? kSharedWindow
                     : space == Space::kLocal ? kLocalWindow
                     : space == Space::kParam ? kParamWindow
                                              : 0;
  if (size_of(b.type()) != 8) b.unsupported("32-bit addresses");
  const Operand& s = b.operand(1);
  b.instr.imm = s64(to_space ? -window : window);
  b.result(b.operand(0), 8);
  if (s.kind == Operand::Kind::kSymbol && s.variable && b.in_frame(*s.variable)) {
    b.instr.imm += s64(s.variable->offset) + s.offset;
    return [](Warp& w, const Instr& in) {
      u64* d = w.reg<u64>(in.ops[0]);
      for_active(w.active, [&](unsigned l) { d[l] = w.frame().local_base + u64(in.imm); });
    };
  }
  b.source(s, Type::kU64);
  return [](Warp& w, const Instr& in) {
    u64* d = w.reg<u64>(in.ops[0]);
    const u64* a = w.reg<u64>(in.ops[1]);
    for (unsigned l = 0; l < kLanes; ++l) d[l] = w.active >> l & 1 ? a[l] + u64(in.imm) : d[l];
  };
}

// isspacep: does a generic address point into a space?
Execute select_is_space(Builder& b) {
  const Space space = take_space(b);
  b.pred(b.operand(0));
  b.source(b.operand(1), Type::kU64);
  b.instr.imm = s64(space == Space::kShared  ? kSharedWindow
                    : space == Space::kLocal ? kLocalWindow
                    : space == Space::kParam ? kParamWindow
                                             : 0);
  return [](Warp& w, const Instr& in) {
    const u64* a = w.reg<u64>(in.ops[1]);
    u32& p = w.pred(in.ops[0]);
    for_active(w.active, [&](unsigned l) { p = (p & ~(1u << l)) | u32((a[l] & kWindowMask) == u64(in.imm)) << l; });
  };
}

}  // namespace

Execute select_memory(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "mov") return select_move(b);
  if (op == "ld" || op == "st" || op == "ldu") return select_load_store(b);
  if (op == "cvta") return select_convert_address(b);
  if (op == "isspacep") return select_is_space(b);
  if (op == "atom" || op == "red") return select_atomic(b);
  if (op == "cp") return select_copy_async(b);
  if (op == "prefetch" || op == "prefetchu" || op == "discard" || op == "applypriority") {
    take_space(b);
    ignore_hints(b);
    b.choice({"L1", "L2"});
    return [](Warp&, const Instr&) {};
  }
  if (op == "membar" || op == "fence") {
    b.choice({"cta", "gl", "sys", "gpu", "cluster"});
    b.choice({"sc", "acq_rel", "acquire", "release"});
    return [](Warp&, const Instr&) { std::atomic_thread_fence(std::memory_order_seq_cst); };
  }
  return nullptr;
}

}  // namespace octet::softgpu
