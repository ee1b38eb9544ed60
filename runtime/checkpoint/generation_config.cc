#include "runtime/checkpoint/generation_config.h"

#include <algorithm>
#include <limits>

#include "runtime/base/check.h"
#include "runtime/base/json_text.h"
#include "runtime/checkpoint/generation_params.h"

namespace octet {
namespace {

// One parameter's default: what the object has, where it can be.
struct DefaultReader {
  JsonFields& fields;
  const GenerationParam& param;
  std::vector<std::string>& left_out;

  double operator()(double neutral) const {
    const ParamRange& range = param.range;
    const double least = range.is_above_least ? range.least + std::numeric_limits<float>::min() : range.least;
    return fields.number_or_left_out(param.name, neutral, least, range.most, left_out);
  }

  // 0 and -1 (as vLLM writes it) turn it off.
  int64_t operator()(int64_t neutral) const {
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
    const int64_t value = fields.integer_or(param.name, neutral, -1, std::numeric_limits<int64_t>::max());
    if (value <= kMost) return std::max<int64_t>(value, 0);
    left_out.push_back(fmt::format("{} is {}, not an integer from 0 to {}; it is left out", param.name, value, kMost));
    return neutral;
  }
};

// Reads what may be a default into its member; one of another type has none.
template <typename Member>
void read_default(const DefaultReader& reader, GenerationDefaults& defaults, Member member) {
  if constexpr (requires { defaults.*member = reader(defaults.*member); }) {
    defaults.*member = reader(defaults.*member);
  } else {
    OCTET_CHECK(false, "{} is no number", reader.param.name);
  }
}

}  // namespace

Result<GenerationConfig> parse_generation_config(std::string_view text, int64_t vocab_size) {
  OCTET_ASSIGN_OR_RETURN(const nlohmann::json object, parse_json_object(text));
  JsonFields fields(object);
  GenerationConfig config;
  GenerationDefaults& defaults = config.defaults;
  for (const GenerationParam& param : generation_params()) {
    if (!param.in_checkpoint) continue;
    const DefaultReader reader{fields, param, config.left_out};
    std::visit([&](const auto member) { read_default(reader, defaults, member); }, param.member);
  }
  if (!fields.boolean_or("do_sample", true)) defaults.temperature = 0;
  config.eos_ids = fields.end_token_ids("eos_token_id", vocab_size, config.left_out).value_or(std::vector<TokenId>());
  OCTET_RETURN_IF_ERROR(fields.status());
  return config;
}

}  // namespace octet
