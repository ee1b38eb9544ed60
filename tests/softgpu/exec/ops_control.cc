// Control flow (PTX ISA 9.7.12), special registers (10), and the device-side printf and assert.

#include <driver_types.h>

#include <chrono>
#include <cstdio>
#include <ctime>

#include "tests/softgpu/exec/block.h"
#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {
namespace {

// Argument `index` (8 bytes) of a builtin: ops hold frame offsets, not slots.
u64 builtin_argument(Warp& w, const Instr& in, unsigned index, unsigned lane) {
  u64 value;
  std::memcpy(&value, w.local_memory(lane) + w.frame().local_base + in.ops[index], sizeof value);
  return value;
}

// Host pointer to `bytes` bytes at a generic address, for one lane.
const std::byte* readable(Warp& w, const Instr& in, unsigned lane, u64 address, unsigned bytes) {
  u64 addresses[kLanes] = {};
  std::byte* pointers[kLanes];
  addresses[lane] = address;
  const u32 active = w.active;
  w.active = 1u << lane;
  w.resolve(in, Space::kGeneric, addresses, bytes, Access::kRead, pointers);
  w.active = active;
  return pointers[lane];
}

std::string read_string(Warp& w, const Instr& in, unsigned lane, u64 address) {
  std::string text;
  for (char c; (c = char(*readable(w, in, lane, address, 1))) != '\0'; ++address) text.push_back(c);
  return text;
}

// Formats with arguments packed as vprintf passes them: naturally aligned, floats as doubles.
std::string format_device(Warp& w, const Instr& in, unsigned lane, const std::string& pattern, u64 arguments) {
  std::string out;
  const auto next = [&](unsigned bytes) {
    arguments = round_up(arguments, bytes);
    u64 value = 0;
    std::memcpy(&value, readable(w, in, lane, arguments, bytes), bytes);
    arguments += bytes;
    return value;
  };
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out.push_back(pattern[i]);
      continue;
    }
    std::size_t end = pattern.find_first_of("diouxXcfFeEgGaAsp%", i + 1);
    if (end == std::string::npos) break;
    std::string spec = pattern.substr(i, end - i + 1);
    const char kind = spec.back();
    for (std::size_t star; (star = spec.find('*')) != std::string::npos;)
      spec.replace(star, 1, std::to_string(s32(next(4))));
    const bool wide = spec.find('l') != std::string::npos || spec.find('z') != std::string::npos;
    i = end;
    char buffer[512];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (kind == '%')
      std::snprintf(buffer, sizeof buffer, "%%");
    else if (kind == 's') {
      out += read_string(w, in, lane, next(8));
      continue;
    } else if (std::strchr("fFeEgGaA", kind))
      std::snprintf(buffer, sizeof buffer, spec.c_str(), std::bit_cast<double>(next(8)));
    else if (wide || kind == 'p')
      std::snprintf(buffer, sizeof buffer, spec.c_str(), next(8));
    else
      std::snprintf(buffer, sizeof buffer, spec.c_str(), u32(next(4)));
#pragma GCC diagnostic pop
    out += buffer;
  }
  return out;
}

// vprintf(format, arguments); the last of ops is the frame offset of the result.
void run_printf(Warp& w, const Instr& in) {
  for_active(w.active, [&](unsigned l) {
    const std::string pattern = read_string(w, in, l, builtin_argument(w, in, 0, l));
    const std::string text = format_device(w, in, l, pattern, builtin_argument(w, in, 1, l));
    std::fwrite(text.data(), 1, text.size(), stdout);
    const u32 result = u32(text.size());
    if (in.mode[0]) std::memcpy(w.local_memory(l) + w.frame().local_base + in.ops[2], &result, sizeof result);
  });
}

// __assertfail(message, file, line, function, char_size)
void run_assert_fail(Warp& w, const Instr& in) {
  const unsigned l = unsigned(std::countr_zero(w.active));
  u32 line;
  std::memcpy(&line, w.local_memory(l) + w.frame().local_base + in.ops[2], sizeof line);
  w.fault(
      in, cudaErrorAssert,
      format("%s:%u: %s: device assertion `%s' failed", read_string(w, in, l, builtin_argument(w, in, 1, l)).c_str(),
             line, read_string(w, in, l, builtin_argument(w, in, 3, l)).c_str(),
             read_string(w, in, l, builtin_argument(w, in, 0, l)).c_str()),
      l);
}

Execute select_call(Builder& b) {
  b.flag("uni");
  // call (results), function, (arguments);   results and arguments are optional
  std::size_t i = 0;
  const Operand* results = b.operand(i).kind == Operand::Kind::kList ? &b.operand(i++) : nullptr;
  const Operand& target = b.operand(i++);
  const Operand* arguments = i < b.operand_count() ? &b.operand(i) : nullptr;
  if (target.kind != Operand::Kind::kSymbol) b.unsupported("indirect call");
  if (target.name == "vprintf" || target.name == "__assertfail") {
    for (const Operand& argument : arguments->elements) b.frame_offset(argument);
    if (results) b.frame_offset(results->elements.at(0));
    b.instr.mode[0] = results != nullptr;
    return target.name == "vprintf" ? &run_printf : &run_assert_fail;
  }
  Function* callee = b.find_function(target.name);
  if (!callee) b.unsupported("unknown function");
  b.instr.flow = Flow::kCall;
  b.instr.imm = b.call_site(*callee, results, arguments);
  return nullptr;
}

Execute flow(Builder& b, Flow f) {
  b.instr.flow = f;
  return nullptr;
}

// ---- special registers ----

template <class T, class F>
Execute special(F) {
  return [](Warp& w, const Instr& in) {
    T* d = w.reg<T>(in.ops[0]);
    for (unsigned l = 0; l < kLanes; ++l) d[l] = w.active >> l & 1 ? T(F{}(w, l)) : d[l];
  };
}

u64 nanoseconds() {
  return u64(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
                 .count());
}

template <class T>
Execute select_special_as(std::string_view name) {
  struct Entry {
    std::string_view name;
    Execute execute;
  };
  static const Entry kEntries[] = {
      {"%tid.x", special<T>([](Warp& w, unsigned l) { return w.tid(0, l); })},
      {"%tid.y", special<T>([](Warp& w, unsigned l) { return w.tid(1, l); })},
      {"%tid.z", special<T>([](Warp& w, unsigned l) { return w.tid(2, l); })},
      {"%ntid.x", special<T>([](Warp& w, unsigned) { return w.block().launch().block.x; })},
      {"%ntid.y", special<T>([](Warp& w, unsigned) { return w.block().launch().block.y; })},
      {"%ntid.z", special<T>([](Warp& w, unsigned) { return w.block().launch().block.z; })},
      {"%ctaid.x", special<T>([](Warp& w, unsigned) { return w.block().ctaid().x; })},
      {"%ctaid.y", special<T>([](Warp& w, unsigned) { return w.block().ctaid().y; })},
      {"%ctaid.z", special<T>([](Warp& w, unsigned) { return w.block().ctaid().z; })},
      {"%nctaid.x", special<T>([](Warp& w, unsigned) { return w.block().launch().grid.x; })},
      {"%nctaid.y", special<T>([](Warp& w, unsigned) { return w.block().launch().grid.y; })},
      {"%nctaid.z", special<T>([](Warp& w, unsigned) { return w.block().launch().grid.z; })},
      {"%laneid", special<T>([](Warp&, unsigned l) { return l; })},
      {"%warpid", special<T>([](Warp& w, unsigned) { return w.index(); })},
      {"%nwarpid", special<T>([](Warp& w, unsigned) { return w.block().warp_count(); })},
      {"%smid", special<T>([](Warp&, unsigned) { return 0u; })},
      {"%nsmid", special<T>([](Warp&, unsigned) { return 1u; })},
      {"%gridid", special<T>([](Warp& w, unsigned) { return w.block().launch().grid_id; })},
      {"%lanemask_eq", special<T>([](Warp&, unsigned l) { return 1u << l; })},
      {"%lanemask_lt", special<T>([](Warp&, unsigned l) { return (1u << l) - 1; })},
      {"%lanemask_le", special<T>([](Warp&, unsigned l) { return (2u << l) - 1; })},
      {"%lanemask_gt", special<T>([](Warp&, unsigned l) { return ~((2u << l) - 1); })},
      {"%lanemask_ge", special<T>([](Warp&, unsigned l) { return ~((1u << l) - 1); })},
      {"%clock", special<T>([](Warp&, unsigned) { return nanoseconds(); })},
      {"%clock_hi", special<T>([](Warp&, unsigned) { return nanoseconds() >> 32; })},
      {"%clock64", special<T>([](Warp&, unsigned) { return nanoseconds(); })},
      {"%globaltimer", special<T>([](Warp&, unsigned) { return nanoseconds(); })},
      {"%globaltimer_lo", special<T>([](Warp&, unsigned) { return nanoseconds(); })},
      {"%globaltimer_hi", special<T>([](Warp&, unsigned) { return nanoseconds() >> 32; })},
      {"%dynamic_smem_size", special<T>([](Warp& w, unsigned) { return w.block().launch().dynamic_shared_bytes; })},
      {"%total_smem_size", special<T>([](Warp& w, unsigned) { return w.block().shared_bytes(); })},
      {"%reserved_smem_offset_0", special<T>([](Warp& w, unsigned) { return w.block().reserved_shared_offset(); })},
      {"%reserved_smem_offset_1", special<T>([](Warp& w, unsigned) { return w.block().reserved_shared_offset(); })},
      {"%envreg0", special<T>([](Warp&, unsigned) { return 0u; })},
      // cooperative_groups finds the grid barrier here
      {"%envreg1", special<T>([](Warp& w, unsigned) { return w.block().launch().grid_workspace >> 32; })},
      {"%envreg2", special<T>([](Warp& w, unsigned) { return w.block().launch().grid_workspace; })},
  };
  for (const Entry& entry : kEntries)
    if (entry.name == name) return entry.execute;
  return nullptr;
}

}  // namespace

Execute select_special(std::string_view name, unsigned bytes) {
  return bytes == 8   ? select_special_as<u64>(name)
         : bytes == 4 ? select_special_as<u32>(name)
                      : select_special_as<u16>(name);
}

Execute select_control(Builder& b) {
  const std::string_view op = b.opcode();
  if (op == "bra") {
    b.flag("uni");
    b.instr.imm = b.branch_target(b.operand(0).name);
    return flow(b, Flow::kBranch);
  }
  if (op == "brx") {
    b.flag("idx");
    b.flag("uni");
    b.source(b.operand(0), Type::kU32);
    b.instr.imm = b.branch_table(b.operand(1).name);
    return flow(b, Flow::kBranchIndexed);
  }
  if (op == "call") return select_call(b);
  if (op == "ret") {
    b.flag("uni");
    return flow(b, Flow::kReturn);
  }
  if (op == "exit") return flow(b, Flow::kExit);
  if (op == "trap")
    return [](Warp& w, const Instr& in) {
      w.fault(in, cudaErrorLaunchFailure, "trap", unsigned(std::countr_zero(w.active)));
    };
  if (op == "nanosleep") {
    b.types();
    b.source(b.operand(0), Type::kU32);
    return [](Warp&, const Instr&) {};
  }
  if (op == "brkpt" || op == "pmevent" || op == "griddepcontrol") {
    b.choice({"wait", "launch_dependents"});
    return [](Warp&, const Instr&) {};
  }
  return nullptr;
}

}  // namespace octet::softgpu
