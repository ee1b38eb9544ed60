// PTX as parsed: names resolved to registers and variables, instructions still symbolic.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

// Fundamental types (PTX ISA 5.2).
enum class Type : u8 {
  kNone,
  kPred,
  kB8,
  kB16,
  kB32,
  kB64,
  kB128,
  kU8,
  kU16,
  kU32,
  kU64,
  kS8,
  kS16,
  kS32,
  kS64,
  kF16,
  kF16x2,
  kBF16,
  kBF16x2,
  kTF32,
  kF32,
  kF64,
};
Type type_from_name(std::string_view name);       // "f32" -> Type::kF32; Type::kNone if it is no type
bool is_special_register(std::string_view name);  // "%tid.x"
unsigned size_of(Type type);                      // bytes; 0 for predicates
inline bool is_signed(Type t) { return t >= Type::kS8 && t <= Type::kS64; }
inline bool is_float(Type t) { return t >= Type::kF16; }

// State spaces (PTX ISA 5.1).
enum class Space : u8 { kGeneric, kGlobal, kShared, kLocal, kParam, kConst };
std::optional<Space> space_from_name(std::string_view name);  // ".global" -> Space::kGlobal

struct Register {
  Type type;
};

struct Variable {
  std::string name;
  Space space;
  u64 size;  // bytes; 0 for `extern .shared x[]`
  u64 align;
  u64 offset = 0;                  // in its function's frame, parameter block, shared memory, or module image
  std::vector<std::byte> initial;  // leading bytes of the initialiser
  struct Relocation {
    u64 offset;
    std::string symbol;
    s64 addend;
  };
  std::vector<Relocation> relocations;  // addresses inside the initialiser
};

struct Operand {
  enum class Kind : u8 {
    kRegister,  // reg
    kSpecial,   // name: %tid.x
    kInteger,   // bits (two's complement)
    kFloat,     // bits of a double
    kSingleBits,
    kDoubleBits,
    kSymbol,    // name (+ offset): a label, function, or variable
    kAddress,   // [reg + offset], [name + offset], [offset]
    kVector,    // elements
    kList,      // (elements) of a call
    kPredPair,  // elements: p|q
    kSink,      // _
  };
  Kind kind;
  bool negated = false;  // !p
  int reg = -1;
  u64 bits = 0;
  s64 offset = 0;
  std::string_view name{};
  const Variable* variable = nullptr;  // what `name` means, if it is a variable
  std::vector<Operand> elements{};
};

struct Statement {
  std::string_view opcode;
  std::vector<std::string_view> modifiers;  // without dots, in order
  std::vector<Operand> operands;
  int guard = -1;  // predicate register of @p
  bool guard_negated = false;
  u32 line = 0;           // in the PTX text
  std::string_view text;  // the statement as written
  int source_file = 0;    // from .loc (nvcc -lineinfo); 0 if unknown
  u32 source_line = 0;
};

struct Function {
  std::string name;
  bool is_entry = false;
  bool is_defined = false;
  std::deque<Variable> parameters;  // deque: addresses stay valid
  std::deque<Variable> results;
  std::deque<Variable> locals;  // .local and .param variables of the body
  std::vector<Register> registers;
  std::vector<Statement> body;
  std::map<std::string_view, std::size_t> labels;                            // label -> statement index
  std::map<std::string_view, std::vector<std::string_view>> branch_targets;  // .branchtargets
  u64 parameter_bytes = 0, frame_bytes = 0;
  u32 max_threads = 0;  // .maxntid / .reqntid, 0: none
};

struct ModuleSource {
  std::string text;
  std::deque<Variable> variables;  // module scope, and .shared variables of any scope
  std::map<std::string, const Variable*, std::less<>> symbols;
  std::map<std::string, std::unique_ptr<Function>, std::less<>> functions;
  std::map<int, std::string> files;  // .file
};

}  // namespace octet::softgpu
