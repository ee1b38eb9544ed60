#include "tests/softgpu/exec/warp.h"

#include <driver_types.h>

#include <algorithm>
#include <bit>

#include "tests/softgpu/exec/block.h"
#include "tests/softgpu/ptx/select.h"

namespace octet::softgpu {
namespace {

constexpr u32 kPatience = 8;  // slices without change before paths take turns

std::string_view one_line(std::string_view text) { return text.substr(0, text.find_last_not_of(" \n\r\t") + 1); }

}  // namespace

void Warp::start(Block& block, unsigned index, const Code& code) {
  block_ = &block;
  index_ = index;
  state_ = State::kReady;
  const unsigned first = index * kLanes;
  const unsigned count = std::min(kLanes, block.threads() - first);
  live_ = count == kLanes ? kAllLanes : (1u << count) - 1;
  const Dim3& dim = block.launch().block;
  for (unsigned l = 0; l < kLanes; ++l) {
    const u32 t = first + l;
    tid_[0][l] = t % dim.x;
    tid_[1][l] = t / dim.x % dim.y;
    tid_[2][l] = t / (dim.x * dim.y);
  }
  const u64 local_bytes = code.has_calls ? u64(environment("SOFTGPU_STACK_BYTES", 65536)) : code.function->frame_bytes;
  if (local_bytes > local_bytes_ || !local_) local_ = std::make_unique<std::byte[]>(local_bytes * kLanes);
  local_bytes_ = local_bytes;
  copies_.clear();
  std::fill(std::begin(copy_group_), std::end(copy_group_), 0);
  last_region_ = nullptr;
  out_of_order_ = false;
  turn_ = quiet_slices_ = 0;
  if (frames_.empty()) frames_.reserve(8);
  depth_ = ~0u;
  enter(code, nullptr, live_, 0);
}

void Warp::enter(const Code& code, const CallSite* site, u32 mask, u64 local_base) {
  ++depth_;
  if (depth_ == frames_.size()) frames_.emplace_back();
  Frame& f = frames_[depth_];
  const u64 bytes = code.register_bytes + code.constants.size();
  if (f.storage_bytes < bytes) {
    f.storage = std::make_unique<std::byte[]>(bytes + 64);
    f.registers = reinterpret_cast<std::byte*>(round_up(u64(f.storage.get()), 64));
    f.storage_bytes = bytes;
    f.code = nullptr;
  }
  if (f.code != &code) std::ranges::copy(code.constants, f.registers + code.register_bytes);
  f.code = &code;
  f.site = site;
  f.local_base = local_base;
  f.path = {0, mask};
  f.others.clear();
  load_frame();
}

void Warp::load_frame() {
  code_ = frames_[depth_].code;
  registers_ = frames_[depth_].registers;
}

Warp::State Warp::run(u64 slice) {
  state_ = State::kReady;
  u64 jumps = 0;
  for (;;) {
    Frame& f = frame();
    // Where the running path meets the next waiting one.
    u32 meet = ~0u;
    for (const Path& p : f.others)
      if (p.pc >= f.path.pc) meet = std::min(meet, p.pc);
    const Instr* const instrs = code_->instrs.data();
    u32 pc = f.path.pc;
    const u32 mask = f.path.mask;
    u32 executed = 0;
    const Instr* in;
    for (;; ++pc) {
      in = &instrs[pc];
      if (pc >= meet) break;
      active = mask;
      if (in->guard != kNoSlot) {
        active &= in->guard_negated ? ~pred(in->guard) : pred(in->guard);
        if (!active) continue;
      }
      ++executed;
      if (in->flow != Flow::kNext) break;
      f.path.pc = pc;
      in->execute(*this, *in);
    }
    lane_instructions += u64{executed} * unsigned(std::popcount(mask));
    f.path.pc = pc;
    if (pc >= meet) {  // merge
      for (Path& p : f.others)
        if (p.pc == pc) f.path.mask |= p.mask, p.mask = 0;
      std::erase_if(f.others, [](const Path& p) { return p.mask == 0; });
      quiet_slices_ = 0;
      continue;
    }
    switch (in->flow) {
      case Flow::kConverged:
        if (!may_converge(*in)) break;
        in->execute(*this, *in);
        ++f.path.pc;
        break;
      case Flow::kBarrier: {
        if (!may_converge(*in)) break;
        in->execute(*this, *in);  // moves on if the barrier is complete
        if (state_ == State::kAtBarrier) return state_;
        break;
      }
      case Flow::kBranch:
        jump(*in, u32(in->imm));
        break;
      case Flow::kBranchIndexed:
        branch_indexed(*in);
        break;
      case Flow::kCall:
        call(*in);
        break;
      case Flow::kReturn:
        leave(*in);
        break;
      case Flow::kExit:
        exit_lanes(active);
        break;
      case Flow::kNext:
        break;
    }
    if (state_ == State::kDone) return state_;
    if (++jumps >= slice) {
      if (++quiet_slices_ > kPatience) rotate();
      return state_;
    }
  }
}

void Warp::jump(const Instr&, u32 target) {
  Frame& f = frame();
  const u32 fall_through = f.path.mask & ~active;
  if (!fall_through) {
    f.path.pc = target;
    if (f.others.empty() || out_of_order_) return;
  } else {
    f.others.push_back({f.path.pc + 1, fall_through});
    f.path = {target, active};
    quiet_slices_ = 0;
  }
  reschedule();
}

void Warp::branch_indexed(const Instr& in) {
  Frame& f = frame();
  const auto& table = code_->branch_tables[std::size_t(in.imm)];
  const u32* index = reg<u32>(in.ops[0]);
  if (const u32 fall_through = f.path.mask & ~active) f.others.push_back({f.path.pc + 1, fall_through});
  for (u32 rest = active; rest;) {
    const unsigned lane = unsigned(std::countr_zero(rest));
    u32 same = 0;
    for (unsigned l = lane; l < kLanes; ++l) same |= u32(index[l] == index[lane]) << l;
    same &= rest;
    rest &= ~same;
    if (index[lane] >= table.size()) fault(in, cudaErrorIllegalInstruction, "brx.idx index out of range", lane);
    f.others.push_back({table[index[lane]], same});
  }
  f.path = f.others.back();
  f.others.pop_back();
  reschedule();
}

// Chooses the path with the smallest program counter that is not parked, merging equal ones.
void Warp::reschedule() {
  Frame& f = frame();
  if (f.path.mask) f.others.push_back(f.path);
  std::ranges::sort(f.others, {}, &Path::pc);
  auto last = f.others.begin();
  for (auto it = std::next(last); it != f.others.end(); ++it) {
    if (it->pc == last->pc)
      last->mask |= it->mask, last->parked = false;  // a new arrival: look again
    else
      *++last = *it;
  }
  f.others.erase(std::next(last), f.others.end());
  auto next = std::ranges::find(f.others, false, &Path::parked);
  if (next == f.others.end()) {
    // Everybody waits. Lanes may have exited meanwhile, so look again before giving up.
    for (auto it = f.others.begin(); it != f.others.end() && next == f.others.end(); ++it) {
      u32 missing;
      f.path = *it;
      active = it->mask;
      if (!missing_lanes(code_->instrs[it->pc], it->mask, missing)) next = it;
    }
    if (next == f.others.end()) deadlock();
  }
  f.path = *next;
  f.path.parked = false;
  f.others.erase(next);
}

bool Warp::missing_lanes(const Instr& in, u32 mask, u32& missing) const {
  u32 members = live_;
  if (in.mode[3]) {  // the first mode[3] - 1 operands precede a lane mask
    members = 0;
    const u32* lanes = reg<u32>(in.ops[in.mode[3] - 1]);
    for (unsigned l = 0; l < kLanes; ++l)
      if (mask >> l & 1) members |= lanes[l];
  }
  missing = members & live_ & ~mask;
  return missing != 0;
}

// May the running path execute an instruction that needs other lanes too? If not, parks it.
bool Warp::may_converge(const Instr& in) {
  u32 missing;
  if (!missing_lanes(in, active, missing)) return true;
  Frame& f = frame();
  if (active != f.path.mask) {  // @p bar.sync: the other lanes of the path skip it
    f.others.push_back({f.path.pc + 1, f.path.mask & ~active});
    f.path.mask = active;
  }
  f.path.parked = true;
  reschedule();
  return false;
}

void Warp::deadlock() {
  std::string text = "lanes of a warp wait for each other at different instructions:";
  Frame& f = frame();
  for (const Path& p : f.others) text += format("\n    lanes 0x%08x at %s", p.mask, where(code_->instrs[p.pc]).c_str());
  f.path = f.others.front();
  fault(code_->instrs[f.path.pc], cudaErrorLaunchFailure, text, unsigned(std::countr_zero(f.path.mask)));
}

// The smallest program counter goes first, but if for long no path has split, merged, or ended, the
// running one may be waiting for lanes of another. Then every other slice belongs to one of those,
// in turn.
void Warp::rotate() {
  Frame& f = frame();
  const auto next = std::ranges::find(f.others, false, &Path::parked);
  if (next == f.others.end()) return;
  if (out_of_order_) {
    out_of_order_ = false;
    return reschedule();
  }
  out_of_order_ = true;
  f.others.push_back(f.path);
  const auto chosen = f.others.begin() + std::ptrdiff_t(turn_++ % (f.others.size() - 1));
  const auto ready = std::find_if(chosen, f.others.end(), [](const Path& p) { return !p.parked; });
  f.path = *ready;
  f.others.erase(ready);
}

void Warp::call(const Instr& in) {
  Frame& f = frame();
  const CallSite& site = code_->calls[std::size_t(in.imm)];
  if (const u32 rest = f.path.mask & ~active) {  // @p call: the others continue behind it
    f.others.push_back({f.path.pc + 1, rest});
    f.path.mask = active;
  }
  const u64 caller_base = f.local_base, callee_base = round_up(caller_base + f.code->function->frame_bytes, 16);
  if (callee_base + site.callee->function->frame_bytes > local_bytes_)
    fault(in, cudaErrorLaunchFailure, "stack overflow in a device function call", unsigned(std::countr_zero(active)));
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(active >> l & 1)) continue;
    for (const auto& copy : site.arguments)
      std::memcpy(local_memory(l) + callee_base + copy.callee_offset,
                  local_memory(l) + caller_base + copy.caller_offset, copy.bytes);
  }
  enter(*site.callee, &site, active, callee_base);
}

void Warp::leave(const Instr&) {
  if (depth_ == 0) return exit_lanes(active);
  Frame& callee = frame();
  const Frame& caller = frames_[depth_ - 1];
  for (unsigned l = 0; l < kLanes; ++l) {
    if (!(active >> l & 1)) continue;
    for (const auto& copy : callee.site->results)
      std::memcpy(local_memory(l) + caller.local_base + copy.caller_offset,
                  local_memory(l) + callee.local_base + copy.callee_offset, copy.bytes);
  }
  callee.path.mask &= ~active;
  ++callee.path.pc;  // for lanes that skipped a guarded ret
  if (callee.path.mask || !callee.others.empty()) return reschedule();
  --depth_;
  load_frame();
  ++frame().path.pc;
}

void Warp::exit_lanes(u32 mask) {
  quiet_slices_ = 0;
  live_ &= ~mask;
  for (unsigned d = 0; d <= depth_; ++d) {
    frames_[d].path.mask &= ~mask;
    for (Path& p : frames_[d].others) p.mask &= ~mask;
    std::erase_if(frames_[d].others, [](const Path& p) { return p.mask == 0; });
  }
  ++frame().path.pc;
  if (!live_) {
    state_ = State::kDone;
    block_->lanes_exited();
    return;
  }
  block_->lanes_exited();
  // Frames all of whose lanes are gone are left as if they had returned.
  while (!frame().path.mask && frame().others.empty()) {
    --depth_;
    load_frame();
    ++frame().path.pc;
  }
  if (!frame().path.mask || !frame().others.empty()) reschedule();
}

void Warp::resume_from_barrier() {
  active = frame().path.mask;
  finish_barrier(*this, current());
  state_ = State::kReady;
  ++frame().path.pc;
}

void Warp::complete_copies(unsigned pending_groups) {
  const auto landed = [&](const AsyncCopy& copy) {
    if (!(active >> copy.lane & 1) || copy.group + pending_groups >= copy_group_[copy.lane]) return false;
    std::memcpy(copy.destination, copy.source, copy.source_bytes);
    std::memset(copy.destination + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    return true;
  };
  std::erase_if(copies_, landed);
}

std::string Warp::where(const Instr& in) const {
  const Statement& s = code_->function->body[in.statement];
  std::string source;
  if (s.source_line) {
    const auto file = code_->module->files.find(s.source_file);
    if (file != code_->module->files.end()) source = format(" (%s:%u)", file->second.c_str(), s.source_line);
  }
  const std::string text(one_line(s.text));
  return format("PTX line %u%s: %s", s.line, source.c_str(), text.c_str());
}

std::string Warp::position() const {
  const Path& p = frames_[depth_].path;
  return format("warp %u, lanes 0x%08x at %s", index_, p.mask, where(code_->instrs[p.pc]).c_str());
}

void Warp::fault(const Instr& in, int code, const std::string& what, unsigned lane) const {
  const Dim3& b = block_->ctaid();
  const std::string in_function = depth_ ? " (in device function '" + code_->function->name + "')" : std::string();
  throw DeviceFault(code, format("%s\n  in kernel '%s'%s, %s\n  thread (%u,%u,%u) of block (%u,%u,%u)", what.c_str(),
                                 block_->launch().kernel_name.c_str(), in_function.c_str(), where(in).c_str(),
                                 tid_[0][lane], tid_[1][lane], tid_[2][lane], b.x, b.y, b.z));
}

}  // namespace octet::softgpu
