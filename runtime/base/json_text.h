// Untrusted JSON text and the typed, range-checked fields of an object.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

// Parses one JSON object. Refused, with the reason: invalid UTF-8, a NUL byte, nesting deeper than 32, a key given
// twice in an object, anything that is not an object.
Result<nlohmann::json> parse_json_object(std::string_view text);

// The reason in a parser's exception, on one line, without the text it quotes (which may be long).
std::string describe_json_error(const nlohmann::json::exception& error);

// What the parser itself would let pass: it takes a NUL byte for the end of the text.
Status check_json_bytes(std::string_view text);

// Reads fields of an object. The first thing that is wrong is kept in status(), which names key, value and bound; what
// is read after it is not to be used. Optional fields count as absent when they are null.
class JsonFields {
 public:
  // `object` must outlive this; `prefix` stands in front of keys in messages ("moe.").
  explicit JsonFields(const nlohmann::json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  const Status& status() const { return status_; }

  // Required, in [minimum, maximum].
  int64_t integer(const char* key, int64_t minimum, int64_t maximum);
  int64_t integer_or(const char* key, int64_t fallback, int64_t minimum, int64_t maximum);
  double number_or(const char* key, double fallback, double minimum, double maximum);
  // For values without which one can go on. What is no number, and a negative number where none is allowed, is still
  // refused; any other number out of bounds is left out: the fallback counts, and `left_out` gets a line about it.
  double number_or_left_out(const char* key, double fallback, double minimum, double maximum,
                            std::vector<std::string>& left_out);
  bool boolean_or(const char* key, bool fallback);
  std::string string_or(const char* key, std::string fallback);
  // One id or an array of ids, each in [0, vocab_size).
  std::optional<std::vector<TokenId>> token_ids(const char* key, int64_t vocab_size);
  // The same for tokens that are only waited for: one beyond the vocabulary can never occur, so it is left out, and
  // `left_out` gets a line about it.
  std::optional<std::vector<TokenId>> end_token_ids(const char* key, int64_t vocab_size,
                                                    std::vector<std::string>& left_out);
  // The object under `key`; null when absent.
  const nlohmann::json* object(const char* key);
  bool has(const char* key) const { return find(key) != nullptr; }

 private:
  const nlohmann::json* find(const char* key) const;
  int64_t checked_integer(const char* key, const nlohmann::json& value, int64_t minimum, int64_t maximum);
  // One integer or an array of them, each in [minimum, maximum].
  std::optional<std::vector<int64_t>> integers(const char* key, int64_t minimum, int64_t maximum);
  void refuse(const char* key, const nlohmann::json& value, const std::string& bound);

  const nlohmann::json& object_;
  std::string prefix_;
  Status status_;
};

}  // namespace octet
