// Instruction selection: from a parsed statement to the handler that executes it.
#pragma once

#include <initializer_list>

#include "tests/softgpu/ptx/ptx_ir.h"

namespace octet::softgpu {

// Assembles one Instr. Every modifier must be asked for: what nobody asked for is unsupported.
class Builder {
 public:
  virtual ~Builder() = default;

  const Statement& statement;
  Instr instr;

  std::string_view opcode() const { return statement.opcode; }

  // ---- modifiers ----
  // True if the modifier is present.
  bool flag(std::string_view name);
  // Accepts all modifiers that start with `prefix`.
  void ignore_prefix(std::string_view prefix);
  // The modifier among `names` that is present; empty if none is.
  std::string_view choice(std::initializer_list<std::string_view> names);
  // All type modifiers, in order.
  const std::vector<Type>& types();
  Type type(std::size_t index = 0);
  // Throws if some modifier was never asked for.
  void finish() const;

  // ---- operands: appended to instr.ops ----
  std::size_t operand_count() const { return statement.operands.size(); }
  const Operand& operand(std::size_t index) const;
  // A register of exactly `bytes` bytes (or, for sources, a constant converted to `type`).
  void result(const Operand& operand, unsigned bytes);
  void source(const Operand& operand, Type type);
  void pred(const Operand& operand);  // predicate register (or _ as a result)
  // Register operand of any width; returns its width in bytes.
  unsigned result_any(const Operand& operand, unsigned bytes_if_sink = 4);
  unsigned source_any(const Operand& operand, Type type_if_constant);
  unsigned register_bytes(const Operand& operand) const { return size_of(register_type(operand.reg)); }
  // Elements of a vector operand, or the operand itself.
  std::vector<const Operand*> elements(const Operand& operand) const;
  // result(operand 0), then sources: the shape of most instructions.
  void regular(Type result, std::initializer_list<Type> sources);
  // Address operand: appends the base register and sets instr.imm. Returns how to interpret it.
  enum class Base : u8 { kNone, kRegister32, kRegister64, kFrame };
  Base address(const Operand& operand);
  // A .param variable of the frame, as its offset (for builtin functions).
  void frame_offset(const Operand& operand);
  // A plain number where a handler expects one.
  void raw(u32 value) { ops_.push_back(value); }
  // Integer immediate.
  s64 immediate(const Operand& operand) const;

  // ---- things that need the whole module ----
  // Absolute address of a variable in its state space.
  virtual u64 address_of(const Variable& variable) = 0;
  virtual bool in_frame(const Variable& variable) const = 0;
  virtual u32 branch_target(std::string_view label) = 0;  // statement; becomes a program counter later
  virtual s64 branch_table(std::string_view label) = 0;
  virtual s64 call_site(Function& callee, const Operand* results, const Operand* arguments) = 0;
  virtual Function* find_function(std::string_view name) const = 0;

  [[noreturn]] void unsupported(const std::string& why) const;

 protected:
  explicit Builder(const Statement& s) : statement(s), taken_(s.modifiers.size(), false) {}
  virtual Slot register_slot(int reg) const = 0;
  virtual Type register_type(int reg) const = 0;
  virtual Slot constant_slot(const void* lanes, unsigned bytes) = 0;
  virtual Slot scratch_slot(unsigned bytes) = 0;
  virtual Slot special_slot(std::string_view name, unsigned bytes) = 0;

  std::vector<Slot> ops_;

 private:
  Slot constant(u64 bits, unsigned bytes);
  std::vector<bool> taken_;
  std::optional<std::vector<Type>> types_;
};

// Each returns null if the opcode is not its own.
Execute select_integer(Builder& b);
Execute select_float(Builder& b);
Execute select_compare(Builder& b);
Execute select_convert(Builder& b);
Execute select_memory(Builder& b);
Execute select_control(Builder& b);
Execute select_warp_level(Builder& b);
Execute select_tensor(Builder& b);
Execute select_matrix_move(Builder& b);

// Reads a special register (PTX ISA 10) of `bytes` bytes.
Execute select_special(std::string_view name, unsigned bytes);

// Delivers the result of bar.red to a warp that leaves a barrier.
void finish_barrier(Warp& warp, const Instr& in);

}  // namespace octet::softgpu
