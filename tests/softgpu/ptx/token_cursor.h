// Walks through the tokens of a PTX text.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/softgpu/ptx/ptx_lexer.h"

namespace octet::softgpu {

class TokenCursor {
 public:
  explicit TokenCursor(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(std::size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& take() { return tokens_[at_ < tokens_.size() - 1 ? at_++ : at_]; }
  bool is(std::string_view text) const { return peek().text == text; }
  bool accept(std::string_view text) { return is(text) ? (take(), true) : false; }
  void expect(std::string_view text) {
    if (!accept(text)) fail("expected '" + std::string(text) + "'");
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw PtxError(
        format("PTX line %u: %s near '%.*s'", peek().line, what.c_str(), int(peek().text.size()), peek().text.data()));
  }
  std::string_view take_word() {
    if (peek().kind != Token::Kind::kWord) fail("expected a name");
    return take().text;
  }
  u64 take_integer() {
    if (peek().kind != Token::Kind::kInteger) fail("expected an integer");
    return take().bits;
  }
  void skip_line() {
    for (const u32 line = peek().line; peek().line == line && peek().kind != Token::Kind::kEnd;) take();
  }

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace octet::softgpu
