#include "tests/softgpu/ptx/select.h"

#include <algorithm>

#include "tests/softgpu/base/numeric.h"

namespace octet::softgpu {

bool Builder::flag(std::string_view name) {
  bool found = false;
  for (std::size_t i = 0; i < taken_.size(); ++i)
    if (statement.modifiers[i] == name) found = taken_[i] = true;
  return found;
}

void Builder::ignore_prefix(std::string_view prefix) {
  for (std::size_t i = 0; i < taken_.size(); ++i)
    if (statement.modifiers[i].starts_with(prefix)) taken_[i] = true;
}

std::string_view Builder::choice(std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names)
    if (flag(name)) return name;
  return {};
}

const std::vector<Type>& Builder::types() {
  if (!types_) {
    types_.emplace();
    for (std::size_t i = 0; i < taken_.size(); ++i)
      if (const Type t = type_from_name(statement.modifiers[i]); t != Type::kNone) {
        types_->push_back(t);
        taken_[i] = true;
      }
  }
  return *types_;
}

Type Builder::type(std::size_t index) {
  if (index >= types().size()) unsupported("missing type");
  return types()[index];
}

void Builder::finish() const {
  for (std::size_t i = 0; i < taken_.size(); ++i)
    if (!taken_[i]) unsupported("modifier ." + std::string(statement.modifiers[i]));
}

const Operand& Builder::operand(std::size_t index) const {
  if (index >= statement.operands.size()) unsupported("too few operands");
  return statement.operands[index];
}

void Builder::result(const Operand& o, unsigned bytes) {
  if (o.kind == Operand::Kind::kSink) return ops_.push_back(scratch_slot(bytes));
  if (o.kind != Operand::Kind::kRegister) unsupported("result is not a register");
  if (size_of(register_type(o.reg)) != bytes) unsupported(format("a result register of %u bytes was expected", bytes));
  ops_.push_back(register_slot(o.reg));
}

unsigned Builder::result_any(const Operand& o, unsigned bytes_if_sink) {
  const unsigned bytes = o.kind == Operand::Kind::kRegister ? size_of(register_type(o.reg)) : bytes_if_sink;
  result(o, bytes);
  return bytes;
}

void Builder::source(const Operand& o, Type type) {
  const unsigned bytes = size_of(type);
  switch (o.kind) {
    case Operand::Kind::kRegister:
      if (size_of(register_type(o.reg)) != bytes)
        unsupported(format("a source register of %u bytes was expected", bytes));
      return ops_.push_back(register_slot(o.reg));
    case Operand::Kind::kSpecial:
      return ops_.push_back(special_slot(o.name, bytes));
    case Operand::Kind::kInteger:
      return ops_.push_back(constant(o.bits, bytes));
    case Operand::Kind::kSingleBits:
      // A 0f constant may stand for a double as well (PTX ISA 4.5.2).
      return ops_.push_back(bytes == 8 ? constant(std::bit_cast<u64>(double(std::bit_cast<float>(u32(o.bits)))), 8)
                                       : constant(o.bits, bytes));
    case Operand::Kind::kDoubleBits:
    case Operand::Kind::kFloat: {
      const double value = std::bit_cast<double>(o.bits);
      return ops_.push_back(bytes == 8 ? constant(o.bits, 8) : constant(std::bit_cast<u32>(float(value)), bytes));
    }
    case Operand::Kind::kSymbol:
      if (o.variable && !in_frame(*o.variable))
        return ops_.push_back(constant(address_of(*o.variable) + u64(o.offset), bytes));
      [[fallthrough]];
    default:
      unsupported("kind of source operand");
  }
}

unsigned Builder::source_any(const Operand& o, Type type_if_constant) {
  if (o.kind != Operand::Kind::kRegister) {
    source(o, type_if_constant);
    return size_of(type_if_constant);
  }
  ops_.push_back(register_slot(o.reg));
  return size_of(register_type(o.reg));
}

void Builder::pred(const Operand& o) {
  if (o.kind == Operand::Kind::kSink) return ops_.push_back(scratch_slot(4));
  if (o.kind == Operand::Kind::kInteger) {
    const u32 mask = o.bits ? kAllLanes : 0;
    return ops_.push_back(constant_slot(&mask, sizeof mask));
  }
  if (o.kind != Operand::Kind::kRegister || register_type(o.reg) != Type::kPred)
    unsupported("a predicate was expected");
  ops_.push_back(register_slot(o.reg));
}

std::vector<const Operand*> Builder::elements(const Operand& o) const {
  if (o.kind != Operand::Kind::kVector) return {&o};
  std::vector<const Operand*> list;
  for (const Operand& e : o.elements) list.push_back(&e);
  return list;
}

void Builder::regular(Type result_type, std::initializer_list<Type> sources) {
  if (operand_count() != 1 + sources.size()) unsupported("number of operands");
  result(operand(0), size_of(result_type));
  std::size_t i = 1;
  for (const Type t : sources) source(operand(i++), t);
}

Builder::Base Builder::address(const Operand& o) {
  if (o.kind != Operand::Kind::kAddress) unsupported("an address was expected");
  instr.imm = o.offset;
  if (o.reg >= 0) {
    ops_.push_back(register_slot(o.reg));
    const unsigned bytes = size_of(register_type(o.reg));
    if (bytes != 4 && bytes != 8) unsupported("address register");
    return bytes == 8 ? Base::kRegister64 : Base::kRegister32;
  }
  ops_.push_back(kNoSlot);
  if (!o.variable) return Base::kNone;
  if (in_frame(*o.variable)) {
    instr.imm += s64(o.variable->offset);
    return Base::kFrame;
  }
  instr.imm += s64(address_of(*o.variable));
  return Base::kNone;
}

void Builder::frame_offset(const Operand& o) {
  if (!o.variable || !in_frame(*o.variable)) unsupported("argument that is not a .param variable");
  ops_.push_back(Slot(o.variable->offset));
}

s64 Builder::immediate(const Operand& o) const {
  if (o.kind != Operand::Kind::kInteger) unsupported("an integer constant was expected");
  return s64(o.bits);
}

Slot Builder::constant(u64 bits, unsigned bytes) {
  std::byte lanes[kLanes * 8];
  for (unsigned l = 0; l < kLanes; ++l) std::memcpy(lanes + l * bytes, &bits, bytes);
  return constant_slot(lanes, kLanes * bytes);
}

void Builder::unsupported(const std::string& why) const {
  throw PtxError(format("unsupported PTX (%s) at line %u: %.*s", why.c_str(), statement.line,
                        int(statement.text.size()), statement.text.data()));
}

}  // namespace octet::softgpu
