// Which registers and variables a name means (PTX ISA 4.4: both are scoped by { } blocks).
#pragma once

#include <cctype>
#include <map>
#include <string_view>
#include <vector>

#include "tests/softgpu/ptx/ptx_ast.h"

namespace octet::softgpu {

class Scopes {
 public:
  void reset() { scopes_.assign(1, {}); }
  void open() { scopes_.emplace_back(); }
  void close() { scopes_.pop_back(); }

  void declare(const Variable* variable) { scopes_.back().variables[variable->name] = variable; }
  void declare_register(std::string_view name, int index) { scopes_.back().registers[name] = index; }
  // .reg .b32 %r<10> declares %r0 .. %r9.
  void declare_registers(std::string_view prefix, int base, unsigned count) {
    scopes_.back().ranges.push_back({prefix, base, count});
  }

  // The innermost register of that name, or -1.
  int find_register(std::string_view name) const {
    std::size_t digits = name.size();
    while (digits > 0 && std::isdigit(u8(name[digits - 1]))) --digits;
    const std::string_view prefix = name.substr(0, digits);
    unsigned number = 0;
    for (const char c : name.substr(digits)) number = number * 10 + unsigned(c - '0');
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto it = scope->registers.find(name); it != scope->registers.end()) return it->second;
      if (digits == name.size()) continue;
      for (const auto& range : scope->ranges)
        if (range.prefix == prefix && number < range.count) return range.base + int(number);
    }
    return -1;
  }
  // The innermost variable of that name, or null.
  const Variable* find_variable(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      if (const auto it = scope->variables.find(name); it != scope->variables.end()) return it->second;
    return nullptr;
  }

 private:
  struct Range {
    std::string_view prefix;
    int base;
    unsigned count;
  };
  struct Scope {
    std::map<std::string_view, int> registers;
    std::vector<Range> ranges;
    std::map<std::string_view, const Variable*> variables;
  };
  std::vector<Scope> scopes_;
};

}  // namespace octet::softgpu
