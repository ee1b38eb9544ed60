#include "runtime/base/json_text.h"

#include <unordered_set>

#include "runtime/base/quote.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxShownValue = 60;

// Walks the text without building anything and stops at the first thing that is refused.
class JsonGuard final : public nlohmann::json_sax<json> {
 public:
  const Status& status() const { return status_; }

  bool null() override { return inside_object(); }
  bool boolean(bool) override { return inside_object(); }
  bool number_integer(number_integer_t) override { return inside_object(); }
  bool number_unsigned(number_unsigned_t) override { return inside_object(); }
  bool number_float(number_float_t, const string_t&) override { return inside_object(); }
  bool string(string_t&) override { return inside_object(); }
  bool binary(binary_t&) override { return inside_object(); }
  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return inside_object() && enter(); }
  bool end_array() override { return leave(); }

  bool key(string_t& name) override {
    return keys_.back().insert(name).second || refuse(invalid_input("key {} is given twice", quote(name)));
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    return refuse(invalid_input("{}", describe_json_error(error)));
  }

 private:
  bool refuse(Status status) {
    status_ = std::move(status);
    return false;
  }
  bool inside_object() { return !keys_.empty() || refuse(invalid_input("not a JSON object")); }
  bool enter() {
    if (keys_.size() == kMaxDepth) return refuse(invalid_input("JSON nested deeper than {} levels", kMaxDepth));
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::unordered_set<std::string>> keys_;  // of each open object or array
  Status status_;
};

// A value as JSON in ASCII, cut short.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  return text.size() > kMaxShownValue ? text.substr(0, kMaxShownValue) + "..." : text;
}

}  // namespace

std::string describe_json_error(const json::exception& error) {
  std::string_view text = error.what();  // "[json.exception.…] parse error at line 1, column 2: …; last read: '…'"
  if (const size_t end = text.find("] "); end != std::string_view::npos) text.remove_prefix(end + 2);
  if (const size_t tail = text.find("; last read"); tail != std::string_view::npos) text = text.substr(0, tail);
  const std::string line = quote(text);
  return "not valid JSON: " + line.substr(1, line.size() - 2);
}

Status check_json_bytes(std::string_view text) {
  if (const size_t position = text.find('\0'); position != std::string_view::npos) {
    return invalid_input("not valid JSON: a NUL byte at byte {}", position);
  }
  return ok_status();
}

Result<json> parse_json_object(std::string_view text) {
  OCTET_RETURN_IF_ERROR(check_json_bytes(text));
  JsonGuard guard;
  if (!json::sax_parse(text, &guard)) return guard.status();
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

const json* JsonFields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::refuse(const char* key, const json& value, const std::string& bound) {
  if (status_.ok()) status_ = invalid_field(prefix_ + key, "is {}; it must be {}", shown(value), bound);
}

int64_t JsonFields::checked_integer(const char* key, const json& value, int64_t minimum, int64_t maximum) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)) &&
                    value.get<int64_t>() >= minimum && value.get<int64_t>() <= maximum;
  if (fits) return value.get<int64_t>();
  refuse(key, value, fmt::format("an integer from {} to {}", minimum, maximum));
  return minimum;
}

int64_t JsonFields::integer(const char* key, int64_t minimum, int64_t maximum) {
  if (const json* value = find(key)) return checked_integer(key, *value, minimum, maximum);
  if (status_.ok()) {
    status_ = invalid_field(prefix_ + key, "is missing; it must be an integer from {} to {}", minimum, maximum);
  }
  return minimum;
}

int64_t JsonFields::integer_or(const char* key, int64_t fallback, int64_t minimum, int64_t maximum) {
  const json* value = find(key);
  return value == nullptr ? fallback : checked_integer(key, *value, minimum, maximum);
}

double JsonFields::number_or(const char* key, double fallback, double minimum, double maximum) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_number() && value->get<double>() >= minimum && value->get<double>() <= maximum) {
    return value->get<double>();
  }
  refuse(key, *value, fmt::format("a number from {} to {}", minimum, maximum));
  return fallback;
}

double JsonFields::number_or_left_out(const char* key, double fallback, double minimum, double maximum,
                                      std::vector<std::string>& left_out) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_number() || value->get<double>() < 0) return number_or(key, fallback, minimum, maximum);
  const double number = value->get<double>();
  if (number >= minimum && number <= maximum) return number;
  left_out.push_back(fmt::format("{}{} is {}, not a number from {} to {}; it is left out", prefix_, key, shown(*value),
                                 minimum, maximum));
  return fallback;
}

bool JsonFields::boolean_or(const char* key, bool fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  refuse(key, *value, "true or false");
  return fallback;
}

std::string JsonFields::string_or(const char* key, std::string fallback) {
  const json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  refuse(key, *value, "a string");
  return fallback;
}

std::optional<std::vector<int64_t>> JsonFields::integers(const char* key, int64_t minimum, int64_t maximum) {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::vector<int64_t> ids;
  const auto add = [&](const json& id) { ids.push_back(checked_integer(key, id, minimum, maximum)); };
  if (value->is_array()) {
    for (const json& id : *value) add(id);
  } else {
    add(*value);
  }
  return ids;
}

std::optional<std::vector<TokenId>> JsonFields::token_ids(const char* key, int64_t vocab_size) {
  const auto ids = integers(key, 0, vocab_size - 1);
  if (!ids) return std::nullopt;
  std::vector<TokenId> tokens;
  for (const int64_t id : *ids) tokens.push_back(static_cast<TokenId>(id));
  return tokens;
}

std::optional<std::vector<TokenId>> JsonFields::end_token_ids(const char* key, int64_t vocab_size,
                                                              std::vector<std::string>& left_out) {
  const auto ids = integers(key, 0, INT64_MAX);
  if (!ids) return std::nullopt;
  std::vector<TokenId> kept;
  for (const int64_t id : *ids) {
    if (id < vocab_size) {
      kept.push_back(static_cast<TokenId>(id));
    } else {
      left_out.push_back(fmt::format("{}{} {} is beyond the vocabulary of {} and can never occur; it is left out",
                                     prefix_, key, id, vocab_size));
    }
  }
  return kept;
}

const json* JsonFields::object(const char* key) {
  const json* value = find(key);
  if (value == nullptr || value->is_object()) return value;
  refuse(key, *value, "an object");
  return nullptr;
}

}  // namespace octet
