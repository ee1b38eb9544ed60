#include "tests/softgpu/ptx/ptx_lexer.h"

#include <cctype>
#include <cstdlib>

namespace octet::softgpu {
namespace {

bool starts_word(char c) { return std::isalpha(u8(c)) || c == '_' || c == '$' || c == '%'; }
bool continues_word(char c) { return std::isalnum(u8(c)) || c == '_' || c == '$'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    tokens.reserve(source_.size() / 4);
    while (skip_blanks(), at_ < source_.size()) tokens.push_back(next());
    tokens.push_back({Token::Kind::kEnd, {}, line_});
    return tokens;
  }

 private:
  char peek(std::size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  void skip_blanks() {
    while (at_ < source_.size()) {
      if (peek() == '\n') {
        ++line_, ++at_;
      } else if (std::isspace(u8(peek()))) {
        ++at_;
      } else if (peek() == '/' && peek(1) == '/') {
        while (at_ < source_.size() && peek() != '\n') ++at_;
      } else if (peek() == '/' && peek(1) == '*') {
        for (at_ += 2; at_ < source_.size() && !(peek() == '*' && peek(1) == '/'); ++at_) line_ += peek() == '\n';
        at_ += 2;
      } else {
        return;
      }
    }
  }

  Token next() {
    const std::size_t start = at_;
    const auto token = [&](Token::Kind kind, u64 bits = 0) {
      return Token{kind, source_.substr(start, at_ - start), line_, bits};
    };
    if (starts_word(peek())) {
      ++at_;
      while (continues_word(peek())) ++at_;
      // Special registers have components: %tid.x
      if (source_[start] == '%' && peek() == '.' && peek(1) >= 'w' && peek(1) <= 'z' && !continues_word(peek(2)))
        at_ += 2;
      return token(Token::Kind::kWord);
    }
    if (peek() == '.' && continues_word(peek(1))) {
      ++at_;
      while (continues_word(peek()) || (peek() == ':' && peek(1) == ':' && continues_word(peek(2))))
        at_ += peek() == ':' ? 2 : 1;
      return token(Token::Kind::kDotWord);
    }
    if (std::isdigit(u8(peek()))) return number(token);
    if (peek() == '"') {
      ++at_;
      while (at_ < source_.size() && peek() != '"') ++at_;
      ++at_;
      return token(Token::Kind::kString);
    }
    ++at_;
    return token(Token::Kind::kPunctuation);
  }

  template <class MakeToken>
  Token number(MakeToken token) {
    const char* const first = source_.data() + at_;
    const char prefix = peek() == '0' ? char(std::tolower(u8(peek(1)))) : '\0';
    const std::size_t start = at_;
    if (prefix == 'f' || prefix == 'd') {
      at_ += 2;
      while (std::isxdigit(u8(peek()))) ++at_;
      const std::string digits(source_.substr(start + 2, at_ - start - 2));
      return token(prefix == 'f' ? Token::Kind::kSingleBits : Token::Kind::kDoubleBits,
                   std::strtoull(digits.c_str(), nullptr, 16));
    }
    bool real = false;
    while (std::isalnum(u8(peek())) || peek() == '.' ||
           ((peek() == '+' || peek() == '-') && prefix != 'x' && std::tolower(u8(peek(-1))) == 'e')) {
      real |= prefix != 'x' && (peek() == '.' || std::tolower(u8(peek())) == 'e');
      ++at_;
    }
    const std::string text(first, source_.data() + at_);
    if (real) return token(Token::Kind::kFloat, std::bit_cast<u64>(std::strtod(text.c_str(), nullptr)));
    if (prefix == 'b') return token(Token::Kind::kInteger, std::strtoull(text.c_str() + 2, nullptr, 2));
    return token(Token::Kind::kInteger, std::strtoull(text.c_str(), nullptr, 0));
  }

  std::string_view source_;
  std::size_t at_ = 0;
  u32 line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace octet::softgpu
