// The form that is executed: one handler call per warp instruction, operands as byte offsets into
// the warp's register file.
#pragma once

#include "tests/softgpu/ptx/ptx_ast.h"

namespace octet::softgpu {

class Warp;
struct Instr;
struct Code;

// Executes one instruction for the active lanes of a warp.
using Execute = void (*)(Warp&, const Instr&);

// Byte offset of a register in the frame's register file. A register holds 32 lanes of 2, 4 or 8
// bytes each; a predicate holds one 32-bit lane mask. Constants are registers never written.
using Slot = u32;
inline constexpr Slot kNoSlot = ~Slot{0};

// How control continues after an instruction.
enum class Flow : u8 {
  kNext,
  kConverged,      // Next, but first wait until every lane that must take part has arrived
  kBranch,         // to imm
  kBranchIndexed,  // to code->branch_tables[imm][ops[0]]
  kCall,           // code->calls[imm]
  kReturn,
  kExit,
  kBarrier,
};

struct Instr {
  Execute execute = nullptr;
  const Slot* ops = nullptr;  // results first, then sources
  s64 imm = 0;                // address offset, branch target, ...: see the handler
  Slot guard = kNoSlot;       // predicate of @p
  u32 statement = 0;          // index into Function::body, for messages
  Flow flow = Flow::kNext;
  bool guard_negated = false;
  u8 mode[4] = {};  // small parameters of the handler
};

// A call: argument and result blocks are copied between the frames of caller and callee.
struct CallSite {
  struct Copy {
    u64 caller_offset, callee_offset, bytes;
  };
  const Code* callee = nullptr;
  std::vector<Copy> arguments, results;
};

// A decoded function.
struct Code {
  const ModuleSource* module = nullptr;
  const Function* function = nullptr;
  std::vector<Instr> instrs;
  std::deque<std::vector<Slot>> operand_lists;
  std::vector<std::vector<u32>> branch_tables;
  std::vector<CallSite> calls;
  u32 register_bytes = 0;            // variables; the constants follow
  std::vector<std::byte> constants;  // initial contents of the rest of the register file
  bool has_calls = false;
};

}  // namespace octet::softgpu
