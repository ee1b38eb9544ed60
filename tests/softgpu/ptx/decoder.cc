#include "tests/softgpu/ptx/decoder.h"

#include <algorithm>

#include "tests/softgpu/ptx/cfg.h"
#include "tests/softgpu/ptx/select.h"

namespace octet::softgpu {
namespace {

constexpr Slot kConstantFlag = Slot{1} << 31;  // while decoding: offset into the constants
constexpr Slot kRegisterAlignment = 64;

bool ends_block(const Statement& s) {
  return s.opcode == "bra" || s.opcode == "brx" || ((s.opcode == "ret" || s.opcode == "exit") && s.guard < 0);
}

bool falls_through(const Statement& s) {
  return s.guard >= 0 || !(s.opcode == "bra" || s.opcode == "brx" || s.opcode == "ret" || s.opcode == "exit");
}

class FunctionDecoder {
 public:
  FunctionDecoder(Code& code, ModuleSource& module, const std::function<u64(const Variable&)>& address_of,
                  std::function<const Code&(Function&)> decode_callee)
      : code_(code),
        function_(*code.function),
        module_(module),
        address_of_(address_of),
        decode_callee_(std::move(decode_callee)) {}

  void run() {
    place_registers();
    const std::vector<u32> starts = find_blocks();
    const u32 end = u32(function_.body.size());
    std::vector<u32> order;
    if (end > 0) order = weak_topological_order(successors_of(starts));
    std::vector<u32> pc_of_statement(end + 1, ~0u);
    for (std::size_t i = 0; i < order.size(); ++i) {
      const u32 first = starts[order[i]], last = starts[order[i] + 1];
      pc_of_statement[first] = u32(code_.instrs.size());
      for (u32 s = first; s < last; ++s) emit(s);
      // Where the block that follows in the source is not the one that follows here, jump.
      const bool followed = i + 1 < order.size() && starts[order[i + 1]] == last;
      if (falls_through(function_.body[last - 1]) && !followed) emit_flow(Flow::kBranch, last);
    }
    pc_of_statement[end] = u32(code_.instrs.size());
    emit_flow(Flow::kReturn, end);  // the end of a function returns
    patch(pc_of_statement);
  }

 private:
  class InstructionBuilder;

  void place_registers() {
    for (const Register& r : function_.registers) {
      register_slots_.push_back(code_.register_bytes);
      reserve(r.type == Type::kPred ? 4 : kLanes * size_of(r.type));
    }
  }

  Slot reserve(u32 bytes) {
    const Slot slot = code_.register_bytes;
    // Predicates pack densely; lane vectors keep their alignment.
    code_.register_bytes = u32(round_up(code_.register_bytes + bytes, kRegisterAlignment));
    return slot;
  }

  Slot intern_constant(const void* lanes, unsigned bytes) {
    std::string key(static_cast<const char*>(lanes), bytes);
    const auto [it, is_new] = constant_slots_.try_emplace(std::move(key), Slot(code_.constants.size()));
    if (is_new) {
      const auto* data = static_cast<const std::byte*>(lanes);
      code_.constants.insert(code_.constants.end(), data, data + bytes);
      code_.constants.resize(round_up(code_.constants.size(), kRegisterAlignment));
    }
    return it->second | kConstantFlag;
  }

  // First statements of the basic blocks, followed by the number of statements.
  std::vector<u32> find_blocks() const {
    std::vector<u32> starts{0};
    for (const auto& [label, statement] : function_.labels) starts.push_back(u32(statement));
    for (u32 s = 0; s < function_.body.size(); ++s)
      if (ends_block(function_.body[s])) starts.push_back(s + 1);
    starts.push_back(u32(function_.body.size()));
    std::ranges::sort(starts);
    starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
    return starts;
  }

  u32 statement_of(std::string_view label) const {
    const auto it = function_.labels.find(label);
    if (it == function_.labels.end()) throw PtxError("unknown label " + std::string(label) + " in " + function_.name);
    return u32(it->second);
  }

  std::vector<std::vector<u32>> successors_of(const std::vector<u32>& starts) const {
    const u32 blocks = u32(starts.size()) - 1;
    const auto block_of = [&](u32 statement) {
      return u32(std::ranges::lower_bound(starts, statement) - starts.begin());
    };
    std::vector<std::vector<u32>> successors(blocks);
    for (u32 b = 0; b < blocks; ++b) {
      const Statement& last = function_.body[starts[b + 1] - 1];
      const auto add = [&](u32 block) {
        if (block < blocks) successors[b].push_back(block);
      };
      if (last.opcode == "bra") add(block_of(statement_of(last.operands.at(0).name)));
      if (last.opcode == "brx")
        for (const std::string_view label : targets_of(last.operands.at(1).name)) add(block_of(statement_of(label)));
      if (falls_through(last)) add(b + 1);
    }
    return successors;
  }

  const std::vector<std::string_view>& targets_of(std::string_view list) const {
    const auto it = function_.branch_targets.find(list);
    if (it == function_.branch_targets.end()) throw PtxError("unknown branch target list " + std::string(list));
    return it->second;
  }

  void emit(u32 statement_index);
  void push(Instr instr, std::vector<Slot> ops) {
    code_.operand_lists.push_back(std::move(ops));
    instr.ops = code_.operand_lists.back().data();
    code_.instrs.push_back(instr);
  }

  // A jump to a statement, or a return, that the source does not have.
  void emit_flow(Flow flow, u32 target_statement) {
    Instr instr;
    instr.flow = flow;
    instr.imm = target_statement;
    instr.statement = target_statement ? target_statement - 1 : 0;
    push(instr, {});
  }

  // Replaces statement numbers by program counters, and places the constants.
  void patch(const std::vector<u32>& pc_of_statement) {
    for (Instr& in : code_.instrs)
      if (in.flow == Flow::kBranch) in.imm = pc_of_statement[std::size_t(in.imm)];
    for (auto& table : code_.branch_tables)
      for (u32& target : table) target = pc_of_statement[target];
    for (auto& list : code_.operand_lists)
      for (Slot& slot : list)
        if (slot != kNoSlot && (slot & kConstantFlag)) slot = (slot & ~kConstantFlag) + code_.register_bytes;
  }

  Code& code_;
  const Function& function_;
  ModuleSource& module_;
  const std::function<u64(const Variable&)>& address_of_;
  std::function<const Code&(Function&)> decode_callee_;
  std::vector<Slot> register_slots_;
  std::map<std::string, Slot> constant_slots_;
};

class FunctionDecoder::InstructionBuilder : public Builder {
 public:
  InstructionBuilder(FunctionDecoder& decoder, u32 statement_index)
      : Builder(decoder.function_.body[statement_index]), d_(decoder) {
    instr.statement = statement_index;
    if (statement.guard >= 0) {
      instr.guard = register_slot(statement.guard);
      instr.guard_negated = statement.guard_negated;
    }
  }

  void build() {
    using Select = Execute (*)(Builder&);
    static constexpr Select kSelectors[] = {select_integer,    select_float,  select_compare,
                                            select_convert,    select_memory, select_control,
                                            select_warp_level, select_tensor, select_matrix_move};
    for (const Select select : kSelectors) {
      instr.execute = select(*this);
      if (instr.execute || instr.flow != Flow::kNext) {
        finish();
        return d_.push(instr, std::move(ops_));
      }
    }
    unsupported("unknown instruction");
  }

  u64 address_of(const Variable& variable) override { return d_.address_of_(variable); }

  bool in_frame(const Variable& v) const override {
    return v.space == Space::kLocal || (v.space == Space::kParam && !is_kernel_parameter(v));
  }

  u32 branch_target(std::string_view label) override { return d_.statement_of(label); }

  s64 branch_table(std::string_view label) override {
    std::vector<u32> table;
    for (const std::string_view target : d_.targets_of(label)) table.push_back(d_.statement_of(target));
    d_.code_.branch_tables.push_back(std::move(table));
    return s64(d_.code_.branch_tables.size()) - 1;
  }

  Function* find_function(std::string_view name) const override {
    const auto it = d_.module_.functions.find(name);
    return it == d_.module_.functions.end() ? nullptr : it->second.get();
  }

  s64 call_site(Function& callee, const Operand* results, const Operand* arguments) override {
    if (!callee.is_defined) unsupported("call of undefined function " + callee.name);
    CallSite site;
    site.callee = &d_.decode_callee_(callee);
    const auto pair = [&](const Operand* list, const std::deque<Variable>& formals) {
      std::vector<CallSite::Copy> copies;
      const std::size_t count = list ? list->elements.size() : 0;
      if (count != formals.size()) unsupported("number of arguments");
      for (std::size_t i = 0; i < count; ++i) {
        const Variable* actual = list->elements[i].variable;
        if (!actual) unsupported("call argument that is not a .param variable");
        copies.push_back({actual->offset, formals[i].offset, formals[i].size});
      }
      return copies;
    };
    site.results = pair(results, callee.results);
    site.arguments = pair(arguments, callee.parameters);
    d_.code_.has_calls = true;
    d_.code_.calls.push_back(std::move(site));
    return s64(d_.code_.calls.size()) - 1;
  }

 protected:
  Slot register_slot(int reg) const override { return d_.register_slots_[std::size_t(reg)]; }
  Type register_type(int reg) const override { return d_.function_.registers[std::size_t(reg)].type; }
  Slot constant_slot(const void* lanes, unsigned bytes) override { return d_.intern_constant(lanes, bytes); }
  Slot scratch_slot(unsigned bytes) override { return d_.reserve(kLanes * bytes); }

  // A special register as a source operand is first read into a scratch register.
  Slot special_slot(std::string_view name, unsigned bytes) override {
    Instr read;
    read.execute = select_special(name, bytes);
    if (!read.execute) unsupported("special register");
    read.statement = instr.statement;
    const Slot slot = scratch_slot(bytes);
    d_.push(read, {slot});
    return slot;
  }

 private:
  bool is_kernel_parameter(const Variable& v) const {
    if (!d_.function_.is_entry) return false;
    return std::ranges::any_of(d_.function_.parameters, [&](const Variable& p) { return &p == &v; });
  }

  FunctionDecoder& d_;
};

void FunctionDecoder::emit(u32 statement_index) { InstructionBuilder(*this, statement_index).build(); }

// Offsets of kernel parameters, and of the variables in a function's frame.
void lay_out(Function& f) {
  const auto place = [](std::deque<Variable>& variables, u64& end) {
    for (Variable& v : variables) {
      v.offset = round_up(end, v.align);
      end = v.offset + v.size;
    }
  };
  if (f.is_entry)
    place(f.parameters, f.parameter_bytes);
  else
    place(f.parameters, f.frame_bytes);
  place(f.results, f.frame_bytes);
  place(f.locals, f.frame_bytes);
  f.frame_bytes = round_up(f.frame_bytes, 16);
}

}  // namespace

const Code& Decoder::decode(Function& function) {
  auto& code = codes_[&function];
  if (code) return *code;  // done, or a recursive call
  code = std::make_unique<Code>();
  code->module = &module_;
  code->function = &function;
  lay_out(function);
  FunctionDecoder(*code, module_, address_of_, [this](Function& f) -> const Code& { return decode(f); }).run();
  return *code;
}

}  // namespace octet::softgpu
