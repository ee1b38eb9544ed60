#include "runtime/text/chat/jinja_text.h"

#include <algorithm>
#include <utility>

namespace octet {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_word(char c) {
  return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
}
bool is_trim_mark(char c) { return c == '-' || c == '+'; }

// As Jinja reads a template: CRLF and CR are line ends, too, and the last one is not printed.
std::string with_unix_lines(std::string_view text) {
  std::string lines;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      lines += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      lines += '\n';
    }
  }
  if (lines.ends_with('\n')) lines.pop_back();
  return lines;
}

class JinjaFolder {
 public:
  explicit JinjaFolder(std::string_view text) : rest_(text) {}

  std::string fold() {
    while (!rest_.empty()) {
      const std::string_view open = rest_.substr(0, 2);
      if (open == "{#") {
        take(std::min(rest_.size(), rest_.find("#}", 2)));
      } else if (open == "{{" || open == "{%") {
        fold_tag(open == "{{" ? "}}" : "%}");
      } else {
        take(std::max<size_t>(1, std::min(rest_.find('{', 1), rest_.size())));
      }
    }
    return std::move(folded_);
  }

 private:
  void take(size_t num_bytes) {
    folded_ += rest_.substr(0, num_bytes);
    rest_.remove_prefix(num_bytes);
  }

  // The spaces that are put beside the marks keep a minus from becoming one.
  void fold_tag(std::string_view close) {
    take(2);
    if (!rest_.empty() && is_trim_mark(rest_.front())) take(1);
    folded_ += ' ';
    bool space = false;
    for (char last = ' '; !rest_.empty();) {
      const size_t mark = is_trim_mark(rest_.front()) ? 1 : 0;
      if (rest_.substr(mark, 2) == close) {
        folded_ += ' ';
        return take(mark + 2);
      }
      const char next = rest_.front();
      if (is_space(next)) {
        space = true;
        rest_.remove_prefix(1);
        continue;
      }
      if (space && is_word(last) && is_word(next)) folded_ += ' ';
      space = false;
      last = next;
      if (next == '\'' || next == '"') {
        fold_literal(next);
      } else {
        take(1);
      }
    }
  }

  void fold_literal(char quote) {
    rest_.remove_prefix(1);
    folded_ += '"';
    while (!rest_.empty() && rest_.front() != quote) fold_character();
    if (!rest_.empty()) rest_.remove_prefix(1);
    folded_ += '"';
  }

  // One character of a literal, or one escape.
  void fold_character() {
    const char c = rest_.front();
    if (c == '\\' && rest_.size() > 1) {
      const bool needless = rest_[1] == '\'';
      if (needless) rest_.remove_prefix(1);
      return take(needless ? 1 : 2);
    }
    if (c != '\n' && c != '\t' && c != '"') return take(1);
    folded_ += c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\\"";
    rest_.remove_prefix(1);
  }

  std::string_view rest_;
  std::string folded_;
};

}  // namespace

std::string fold_jinja(std::string_view text) { return JinjaFolder(with_unix_lines(text)).fold(); }

}  // namespace octet
