#include "tests/softgpu/ptx/ptx_parser.h"

#include <algorithm>
#include <array>

#include "tests/softgpu/ptx/ptx_scopes.h"
#include "tests/softgpu/ptx/token_cursor.h"

namespace octet::softgpu {
namespace {

class Parser : TokenCursor {
 public:
  explicit Parser(std::unique_ptr<ModuleSource> module)
      : TokenCursor(tokenize(module->text)), module_(std::move(module)) {}

  std::unique_ptr<ModuleSource> run() {
    while (peek().kind != Token::Kind::kEnd) parse_directive();
    return std::move(module_);
  }

 private:
  // ---- module scope (PTX ISA 11) ----
  void parse_directive() {
    const std::string_view word = peek().text;
    if (word == ".version" || word == ".target" || word == ".address_size" || word == ".file") {
      if (word == ".file")
        parse_file();
      else
        skip_line();
    } else if (word == ".section") {  // DWARF
      while (!accept("}")) take();
    } else if (word == ".pragma" || word == ".alias") {
      while (!accept(";")) take();
    } else {
      bool is_extern = false;
      while (is(".visible") || is(".weak") || is(".extern") || is(".common")) is_extern |= take().text == ".extern";
      if (is(".entry") || is(".func"))
        parse_function();
      else if (space_from_name(peek().text))
        parse_module_variable();
      else
        fail("unknown directive");
    }
  }

  void parse_file() {
    take();
    const int number = int(take_integer());
    std::string_view name = take().text;  // quoted
    module_->files[number] = std::string(name.substr(1, name.size() - 2));
    while (accept(",")) take();  // timestamp, size
  }

  void parse_module_variable() {
    Variable variable = parse_variable();
    declare_globally(std::move(variable));
    expect(";");
  }

  const Variable* declare_globally(Variable variable) {
    module_->variables.push_back(std::move(variable));
    const Variable* stored = &module_->variables.back();
    module_->symbols.emplace(stored->name, stored);
    return stored;
  }

  // .space .align n .type name[size] = initialiser    (PTX ISA 5.4)
  Variable parse_variable() {
    Variable variable{};
    variable.space = *space_from_name(take().text);
    if (accept(".align")) variable.align = take_integer();
    unsigned vector = 1;
    Type type = Type::kNone;
    while (peek().kind == Token::Kind::kDotWord) {
      const std::string_view word = take().text;
      if (word == ".v2")
        vector = 2;
      else if (word == ".v4")
        vector = 4;
      else if (word == ".align")
        variable.align = take_integer();
      else if (word == ".ptr") {  // .param .u64 .ptr .global .align 8 name
        while (space_from_name(peek().text)) take();
      } else if (const Type t = type_from_name(word.substr(1)); t != Type::kNone)
        type = t;
      else if (word != ".attribute")
        fail("unknown variable attribute '" + std::string(word) + "'");
      else
        skip_parentheses();
    }
    const unsigned element_size = size_of(type);
    if (variable.align == 0) variable.align = u64{element_size} * vector;
    variable.name = take_word();
    u64 elements = 1;
    while (accept("[")) {
      elements *= is("]") ? 0 : take_integer();
      expect("]");
    }
    variable.size = elements * element_size * vector;
    if (accept("=")) {
      parse_initializer(variable, element_size, is_float(type));
      variable.size = std::max<u64>(variable.size, variable.initial.size());
    }
    return variable;
  }

  void skip_parentheses() {
    expect("(");
    while (!accept(")")) take();
  }

  void parse_initializer(Variable& variable, unsigned element_size, bool is_float_type) {
    if (accept("{")) {
      do parse_initializer(variable, element_size, is_float_type);
      while (accept(","));
      expect("}");
      return;
    }
    u64 bits = 0;
    if (peek().kind == Token::Kind::kWord) {  // address: name, generic(name), name+offset
      const bool wrapped = is("generic");
      if (wrapped) take(), expect("(");
      Variable::Relocation relocation{variable.initial.size(), std::string(take_word()), 0};
      if (wrapped) expect(")");
      if (accept("+")) relocation.addend = s64(take_integer());
      variable.relocations.push_back(relocation);
    } else {
      const bool negative = accept("-");
      const Token& token = take();
      bits = token.bits;
      if (token.kind == Token::Kind::kFloat && element_size == 4)
        bits = std::bit_cast<u32>(float(std::bit_cast<double>(bits)));
      if (negative) bits = is_float_type ? bits ^ (u64{1} << (8 * element_size - 1)) : u64(-s64(bits));
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(&bits);
    variable.initial.insert(variable.initial.end(), bytes, bytes + element_size);
  }

  // ---- functions (PTX ISA 7) ----
  void parse_function() {
    auto function = std::make_unique<Function>();
    function->is_entry = take().text == ".entry";
    scopes_.reset();
    if (is("(")) parse_parameters(function->results);
    function->name = take_word();
    if (is("(")) parse_parameters(function->parameters);
    while (peek().kind == Token::Kind::kDotWord) parse_performance_directive(*function);
    function_ = function.get();
    if (accept(";")) {  // a prototype
      if (!module_->functions.contains(function->name)) module_->functions.emplace(function->name, std::move(function));
      return;
    }
    function->is_defined = true;
    expect("{");
    parse_block();
    module_->functions.insert_or_assign(function->name, std::move(function));
  }

  void parse_parameters(std::deque<Variable>& parameters) {
    expect("(");
    while (!accept(")")) {
      parameters.push_back(parse_variable());
      scopes_.declare(&parameters.back());
      accept(",");
    }
  }

  void parse_performance_directive(Function& function) {
    const std::string_view word = take().text;
    if (word == ".maxntid" || word == ".reqntid") {
      u32 threads = u32(take_integer());
      while (accept(",")) threads *= u32(take_integer());
      function.max_threads = threads;
    } else if (word == ".minnctapersm" || word == ".maxnreg" || word == ".maxclusterrank") {
      take_integer();
    } else if (word == ".noreturn") {
    } else if (word == ".pragma") {
      while (!accept(";")) take();
    } else {
      fail("unsupported function directive '" + std::string(word) + "'");
    }
  }

  void parse_block() {
    scopes_.open();
    while (!accept("}")) {
      if (accept("{"))
        parse_block();
      else if (peek().kind == Token::Kind::kDotWord)
        parse_body_directive();
      else if (peek().kind == Token::Kind::kWord && peek(1).text == ":")
        parse_label();
      else if (!accept(";"))
        parse_statement();
    }
    scopes_.close();
  }

  void parse_body_directive() {
    const std::string_view word = peek().text;
    if (word == ".reg") {
      parse_registers();
    } else if (word == ".loc") {
      take();
      source_file_ = int(take_integer());
      source_line_ = u32(take_integer());
      skip_line();
    } else if (word == ".pragma") {
      while (!accept(";")) take();
    } else if (space_from_name(word)) {
      Variable variable = parse_variable();
      while (accept(",")) fail("several variables in one declaration");
      expect(";");
      const bool in_frame = variable.space == Space::kLocal || variable.space == Space::kParam;
      const Variable* stored;
      if (in_frame)
        stored = &function_->locals.emplace_back(std::move(variable));
      else
        stored = declare_globally(std::move(variable));
      scopes_.declare(stored);
    } else {
      fail("unsupported directive in a function");
    }
  }

  void parse_registers() {
    take();
    while (accept(".align")) take_integer();
    const std::string_view type_name = take().text;
    const Type type = type_from_name(type_name.substr(1));
    if (type == Type::kNone) fail("unknown register type");
    do {
      const std::string_view name = take_word();
      unsigned count = 1;
      const int base = int(function_->registers.size());
      if (accept("<")) {
        count = unsigned(take_integer());
        expect(">");
        scopes_.declare_registers(name, base, count);
      } else {
        scopes_.declare_register(name, base);
      }
      function_->registers.insert(function_->registers.end(), count, Register{type});
    } while (accept(","));
    expect(";");
  }

  void parse_label() {
    const std::string_view name = take_word();
    expect(":");
    if (accept(".branchtargets")) {
      auto& targets = function_->branch_targets[name];
      do targets.push_back(take_word());
      while (accept(","));
      expect(";");
    } else if (is(".callprototype")) {
      while (!accept(";")) take();
    } else {
      function_->labels[name] = function_->body.size();
    }
  }

  // ---- instructions (PTX ISA 4.3.2) ----
  void parse_statement() {
    Statement s;
    s.line = peek().line;
    s.source_file = source_file_;
    s.source_line = source_line_;
    const char* const first = peek().text.data();
    if (accept("@")) {
      s.guard_negated = accept("!");
      const std::string_view name = take_word();
      s.guard = scopes_.find_register(name);
      if (s.guard < 0) fail("unknown guard predicate '" + std::string(name) + "'");
    }
    s.opcode = take_word();
    while (peek().kind == Token::Kind::kDotWord) s.modifiers.push_back(take().text.substr(1));
    while (!is(";")) {
      s.operands.push_back(parse_operand());
      if (accept("|")) {  // p|q
        Operand pair{.kind = Operand::Kind::kPredPair};
        pair.elements.push_back(std::move(s.operands.back()));
        pair.elements.push_back(parse_operand());
        s.operands.back() = std::move(pair);
      }
      if (!is(";")) expect(",");
    }
    s.text = {first, std::size_t(peek().text.data() - first)};
    expect(";");
    function_->body.push_back(std::move(s));
  }

  std::vector<Operand> parse_elements(std::string_view close) {
    std::vector<Operand> elements;
    while (!accept(close)) {
      elements.push_back(parse_operand());
      accept(",");
    }
    return elements;
  }

  Operand parse_operand() {
    if (accept("{")) return {.kind = Operand::Kind::kVector, .elements = parse_elements("}")};
    if (accept("(")) return {.kind = Operand::Kind::kList, .elements = parse_elements(")")};
    if (accept("[")) return parse_address();
    if (accept("!")) {
      Operand operand = parse_operand();
      operand.negated = true;
      return operand;
    }
    const bool negative = accept("-");
    const Token& token = peek();
    switch (token.kind) {
      case Token::Kind::kInteger:
        return {.kind = Operand::Kind::kInteger, .bits = signed_bits(take().bits, negative)};
      case Token::Kind::kFloat: {
        const double value = std::bit_cast<double>(take().bits);
        return {.kind = Operand::Kind::kFloat, .bits = std::bit_cast<u64>(negative ? -value : value)};
      }
      case Token::Kind::kSingleBits:
        return {.kind = Operand::Kind::kSingleBits, .bits = take().bits};
      case Token::Kind::kDoubleBits:
        return {.kind = Operand::Kind::kDoubleBits, .bits = take().bits};
      case Token::Kind::kWord:
        return parse_name();
      default:
        fail("unexpected operand");
    }
  }

  static u64 signed_bits(u64 bits, bool negative) { return negative ? u64(-s64(bits)) : bits; }

  Operand parse_name() {
    const std::string_view name = take_word();
    if (name == "_") return {.kind = Operand::Kind::kSink};
    if (const int reg = scopes_.find_register(name); reg >= 0)
      return {.kind = Operand::Kind::kRegister, .reg = reg, .name = name};
    if (is_special_register(name)) return {.kind = Operand::Kind::kSpecial, .name = name};
    if (name == "WARP_SZ") return {.kind = Operand::Kind::kInteger, .bits = kLanes};
    if (name[0] == '%') fail("unknown register '" + std::string(name) + "'");
    Operand operand{.kind = Operand::Kind::kSymbol, .name = name, .variable = find_variable(name)};
    parse_offset(operand);
    return operand;
  }

  void parse_offset(Operand& operand) {
    if (accept("+")) {
      const bool negative = accept("-");
      operand.offset = s64(signed_bits(take_integer(), negative));
    } else if (is("-") && peek(1).kind == Token::Kind::kInteger) {
      take();
      operand.offset = -s64(take_integer());
    }
  }

  Operand parse_address() {
    Operand operand{.kind = Operand::Kind::kAddress};
    if (peek().kind == Token::Kind::kInteger) {
      operand.offset = s64(take_integer());
    } else {
      operand.name = take_word();
      operand.reg = scopes_.find_register(operand.name);
      if (operand.reg < 0 && !(operand.variable = find_variable(operand.name)))
        fail("unknown address '" + std::string(operand.name) + "'");
      parse_offset(operand);
    }
    expect("]");
    return operand;
  }

  const Variable* find_variable(std::string_view name) const {
    if (const Variable* variable = scopes_.find_variable(name)) return variable;
    const auto it = module_->symbols.find(name);
    return it == module_->symbols.end() ? nullptr : it->second;
  }

  std::unique_ptr<ModuleSource> module_;
  Function* function_ = nullptr;
  Scopes scopes_;
  int source_file_ = 0;
  u32 source_line_ = 0;
};

}  // namespace

std::unique_ptr<ModuleSource> parse_ptx(std::string text) {
  auto module = std::make_unique<ModuleSource>();
  module->text = std::move(text);
  return Parser(std::move(module)).run();
}

}  // namespace octet::softgpu
