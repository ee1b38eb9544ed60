// Instructions that join the lanes of a warp or the warps of a block: PTX ISA 9.7.9.6 (shfl),
// 9.7.13 (bar, vote, match, redux, activemask).

#include <driver_types.h>

#include "tests/softgpu/exec/block.h"
#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

// Declares that operand `index` of ops is a mask of the lanes that must take part.
void converge_on(Builder& b, unsigned index) {
  b.instr.flow = Flow::kConverged;
  b.instr.mode[3] = u8(index + 1);
}

void take_sync(Builder& b) {
  if (!b.flag("sync")) b.unsupported("only the .sync form exists since sm_70");
}

// Checks that every lane is in the mask it gives (otherwise the result is undefined).
void check_membership(Warp& w, const Instr& in) {
  const u32* mask = w.reg<u32>(in.ops[in.mode[3] - 1]);
  for_active(w.active, [&](unsigned l) {
    if (!(mask[l] >> l & 1))
      w.fault(in, cudaErrorLaunchFailure,
              format("lane %u executes this but is not in the member mask 0x%08x", l, mask[l]), l);
  });
}

// ---- shfl.sync ----

enum Mode : u8 { Up, Down, Butterfly, Index };
constexpr u32 kUndefined = 0x7fe5dead;  // what a lane reads from one that does not take part: a NaN

// ops: d, p, a, b, c, membermask
template <Mode M>
void run_shuffle(Warp& w, const Instr& in) {
  check_membership(w, in);
  u32* d = w.reg<u32>(in.ops[0]);
  const u32 *a = w.reg<u32>(in.ops[2]), *b = w.reg<u32>(in.ops[3]), *c = w.reg<u32>(in.ops[4]);
  u32 values[kLanes], in_range = 0;
  for_active(w.active, [&](unsigned l) {
    const u32 offset = b[l] & 31, clamp = c[l] & 31, segment = c[l] >> 8 & 31;
    const u32 lowest = l & segment, last = lowest | (clamp & ~segment);
    s32 j;
    bool valid;
    if (M == Up)
      j = s32(l - offset), valid = j >= s32(last);
    else if (M == Down)
      j = s32(l + offset), valid = j <= s32(last);
    else if (M == Butterfly)
      j = s32(l ^ offset), valid = j <= s32(last);
    else
      j = s32(lowest | (offset & ~segment)), valid = j <= s32(last);
    if (!valid) j = s32(l);
    in_range |= u32(valid) << l;
    values[l] = w.active >> j & 1 ? a[j] : kUndefined;
  });
  for_active(w.active, [&](unsigned l) { d[l] = values[l]; });
  u32& p = w.pred(in.ops[1]);
  p = (p & ~w.active) | in_range;
}

Execute select_shuffle(Builder& b) {
  take_sync(b);
  const std::string_view mode = b.choice({"up", "down", "bfly", "idx"});
  if (b.type() != Type::kB32) b.unsupported("type");
  const Operand& d = b.operand(0);
  const bool pair = d.kind == Operand::Kind::kPredPair;
  b.result(pair ? d.elements[0] : d, 4);
  b.pred(pair ? d.elements[1] : Operand{.kind = Operand::Kind::kSink});
  for (std::size_t i = 1; i <= 4; ++i) b.source(b.operand(i), Type::kB32);
  converge_on(b, 5);
  return mode == "up"     ? &run_shuffle<Up>
         : mode == "down" ? &run_shuffle<Down>
         : mode == "bfly" ? &run_shuffle<Butterfly>
                          : &run_shuffle<Index>;
}

// ---- vote, match, redux ----

// ops: d, predicate, membermask; mode[0]: predicate negated; mode[1]: 0 ballot 1 all 2 any 3 uni
void run_vote(Warp& w, const Instr& in) {
  check_membership(w, in);
  const u32 p = (in.mode[0] ? ~w.pred(in.ops[1]) : w.pred(in.ops[1])) & w.active;
  const u32* mask = w.reg<u32>(in.ops[2]);
  if (in.mode[1] == 0) {
    u32* d = w.reg<u32>(in.ops[0]);
    u32 ballots[kLanes];
    for_active(w.active, [&](unsigned l) { ballots[l] = p & mask[l]; });
    for_active(w.active, [&](unsigned l) { d[l] = ballots[l]; });
    return;
  }
  u32 result = 0;
  for_active(w.active, [&](unsigned l) {
    const u32 members = mask[l] & w.active, set = p & members;
    const bool all = set == members, none = set == 0;
    result |= u32(in.mode[1] == 1 ? all : in.mode[1] == 2 ? !none : all || none) << l;
  });
  u32& d = w.pred(in.ops[0]);
  d = (d & ~w.active) | result;
}

Execute select_vote(Builder& b) {
  take_sync(b);
  const std::string_view mode = b.choice({"ballot", "all", "any", "uni"});
  b.instr.mode[1] = mode == "ballot" ? 0 : mode == "all" ? 1 : mode == "any" ? 2 : 3;
  b.types();
  if (mode == "ballot")
    b.result(b.operand(0), 4);
  else
    b.pred(b.operand(0));
  b.pred(b.operand(1));
  b.instr.mode[0] = b.operand(1).negated;
  b.source(b.operand(2), Type::kB32);
  converge_on(b, 2);
  return &run_vote;
}

// ops: d, p, a, membermask
template <class T, bool All>
void run_match(Warp& w, const Instr& in) {
  check_membership(w, in);
  const T* a = w.reg<T>(in.ops[2]);
  const u32* mask = w.reg<u32>(in.ops[3]);
  u32 result[kLanes], all_equal = 0;
  for_active(w.active, [&](unsigned l) {
    const u32 members = mask[l] & w.active;
    u32 equal = 0;
    for_active(members, [&](unsigned m) { equal |= u32(a[m] == a[l]) << m; });
    all_equal |= u32(equal == members) << l;
    result[l] = !All || equal == members ? equal : 0;
  });
  u32* d = w.reg<u32>(in.ops[0]);
  for_active(w.active, [&](unsigned l) { d[l] = result[l]; });
  u32& p = w.pred(in.ops[1]);
  p = (p & ~w.active) | all_equal;
}

Execute select_match(Builder& b) {
  const bool all = b.choice({"any", "all"}) == "all";
  take_sync(b);
  const Operand& d = b.operand(0);
  const bool pair = d.kind == Operand::Kind::kPredPair;
  b.result(pair ? d.elements[0] : d, 4);
  b.pred(pair ? d.elements[1] : Operand{.kind = Operand::Kind::kSink});
  b.source(b.operand(1), b.type());
  b.source(b.operand(2), Type::kB32);
  converge_on(b, 3);
  if (size_of(b.type()) == 8) return all ? &run_match<u64, true> : &run_match<u64, false>;
  return all ? &run_match<u32, true> : &run_match<u32, false>;
}

// ops: d, a, membermask
template <class F, class T>
struct Reduce {
  static void run(Warp& w, const Instr& in) {
    check_membership(w, in);
    const T* a = w.reg<T>(in.ops[1]);
    const u32* mask = w.reg<u32>(in.ops[2]);
    T result[kLanes];
    for_active(w.active, [&](unsigned l) {
      const u32 members = mask[l] & w.active;
      const unsigned first = unsigned(std::countr_zero(members));
      result[l] = a[first];
      for_active(members & (members - 1), [&](unsigned m) { result[l] = F{}(result[l], a[m]); });
    });
    T* d = w.reg<T>(in.ops[0]);
    for_active(w.active, [&](unsigned l) { d[l] = result[l]; });
  }
};

template <class F, class T>
Execute reduction(F, T (F::*)(T, T) const) {
  return &Reduce<F, T>::run;
}
template <class F>
Execute reducing(F f) {
  return reduction(f, &F::operator());
}

Execute select_redux(Builder& b) {
  take_sync(b);
  const std::string_view op = b.choice({"add", "min", "max", "and", "or", "xor"});
  const bool negative = is_signed(b.type());
  b.regular(b.type(), {b.type(), Type::kB32});
  converge_on(b, 2);
  if (size_of(b.type()) != 4 || is_float(b.type())) b.unsupported("type");
  if (op == "add") return reducing([](u32 x, u32 y) { return x + y; });
  if (op == "and") return reducing([](u32 x, u32 y) { return x & y; });
  if (op == "or") return reducing([](u32 x, u32 y) { return x | y; });
  if (op == "xor") return reducing([](u32 x, u32 y) { return x ^ y; });
  if (op == "min")
    return negative ? reducing([](s32 x, s32 y) { return std::min(x, y); })
                    : reducing([](u32 x, u32 y) { return std::min(x, y); });
  return negative ? reducing([](s32 x, s32 y) { return std::max(x, y); })
                  : reducing([](u32 x, u32 y) { return std::max(x, y); });
}

// ---- barriers ----

enum : u8 { kSync, kArrive, kPopc, kAnd, kOr };

// ops: barrier, thread count, predicate, result; mode[0]: kind; mode[1]: has a thread count;
// mode[2]: predicate negated
void run_barrier(Warp& w, const Instr& in) {
  const unsigned first = unsigned(std::countr_zero(w.active));
  const u32 barrier = w.reg<u32>(in.ops[0])[first];
  const u32 expected = in.mode[1] ? w.reg<u32>(in.ops[1])[first] : 0;
  if (barrier >= 16) w.fault(in, cudaErrorLaunchFailure, "barrier number above 15", first);
  if (expected % kLanes) w.fault(in, cudaErrorLaunchFailure, "barrier thread count is not a multiple of 32", first);
  u32 predicate = 0;
  if (in.mode[0] >= kPopc) predicate = in.mode[2] ? ~w.pred(in.ops[2]) : w.pred(in.ops[2]);
  w.block().arrive(w, barrier, expected, w.active, predicate, in.mode[0] != kArrive);
}

Execute select_barrier(Builder& b) {
  b.flag("cta");
  b.flag("aligned");
  if (b.flag("warp")) {
    take_sync(b);
    b.source(b.operand(0), Type::kB32);
    converge_on(b, 0);
    return [](Warp& w, const Instr& in) {
      check_membership(w, in);
      if (RaceDetector* races = w.block().races()) races->sync_warp(w.index());
    };
  }
  const std::string_view form = b.choice({"sync", "arrive", "red"});
  if (form.empty()) b.unsupported("form");
  std::size_t next = form == "red" ? 1 : 0;
  b.source(b.operand(next++), Type::kU32);
  const std::size_t last = b.operand_count() - (form == "red" ? 1 : 0);
  b.instr.mode[1] = next < last;
  const Operand zero{.kind = Operand::Kind::kInteger};
  b.source(next < last ? b.operand(next) : zero, Type::kU32);
  b.instr.mode[0] = form == "arrive" ? kArrive : kSync;
  if (form == "red") {
    const std::string_view op = b.choice({"popc", "and", "or"});
    b.instr.mode[0] = op == "popc" ? kPopc : op == "and" ? kAnd : kOr;
    b.types();
    b.pred(b.operand(last));
    b.instr.mode[2] = b.operand(last).negated;
    if (op == "popc")
      b.result(b.operand(0), 4);
    else
      b.pred(b.operand(0));
  }
  b.instr.flow = form == "arrive" ? Flow::kConverged : Flow::kBarrier;
  return &run_barrier;
}

}  // namespace

void finish_barrier(Warp& w, const Instr& in) {
  if (in.mode[0] < kPopc) return;
  const unsigned first = unsigned(std::countr_zero(w.active));
  const Block::Reduction& result = w.block().reduction(w.reg<u32>(in.ops[0])[first]);
  if (in.mode[0] == kPopc) {
    u32* d = w.reg<u32>(in.ops[3]);
    for_active(w.active, [&](unsigned l) { d[l] = result.count; });
  } else {
    const bool value = in.mode[0] == kAnd ? result.all : result.any;
    u32& d = w.pred(in.ops[3]);
    d = (d & ~w.active) | (value ? w.active : 0);
  }
}

Execute select_warp_level(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "shfl") return select_shuffle(b);
  if (op == "vote") return select_vote(b);
  if (op == "match") return select_match(b);
  if (op == "redux") return select_redux(b);
  if (op == "bar" || op == "barrier") return select_barrier(b);
  if (op == "activemask") {
    b.types();
    b.result(b.operand(0), 4);
    return [](Warp& w, const Instr& in) {
      u32* d = w.reg<u32>(in.ops[0]);
      const u32 active = w.active;
      for_active(active, [&](unsigned l) { d[l] = active; });
    };
  }
  return nullptr;
}

}  // namespace octet::softgpu
