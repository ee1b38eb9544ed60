#include "runtime/checkpoint/generation_config.h"

#include <algorithm>
#include <limits>

#include "runtime/base/json_text.h"
#include "runtime/checkpoint/sampling_params.h"

namespace octet {
namespace {

constexpr double kAboveZero = std::numeric_limits<float>::min();

// 0 and -1 (as vLLM writes it) turn it off.
int64_t read_top_k(JsonFields& fields, std::vector<std::string>& left_out) {
  constexpr int64_t kMaxTopK = std::numeric_limits<int32_t>::max();
  const int64_t top_k = fields.integer_or("top_k", 0, -1, std::numeric_limits<int64_t>::max());
  if (top_k <= kMaxTopK) return std::max<int64_t>(top_k, 0);
  left_out.push_back(fmt::format("top_k is {}, not an integer from 0 to {}; it is left out", top_k, kMaxTopK));
  return 0;
}

}  // namespace

SamplingParams GenerationDefaults::sampling() const {
  SamplingParams params;
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.min_p = min_p;
  params.repetition_penalty = repetition_penalty;
  return params;
}

Result<GenerationConfig> parse_generation_config(std::string_view text, int64_t vocab_size) {
  OCTET_ASSIGN_OR_RETURN(const nlohmann::json object, parse_json_object(text));
  JsonFields fields(object);
  GenerationConfig config;
  GenerationDefaults& defaults = config.defaults;
  const auto number = [&](const char* key, double neutral, double minimum, double maximum) {
    return fields.number_or_left_out(key, neutral, minimum, maximum, config.left_out);
  };
  defaults.temperature = number("temperature", defaults.temperature, 0, kMaxTemperature);
  defaults.top_k = read_top_k(fields, config.left_out);
  defaults.top_p = number("top_p", defaults.top_p, kAboveZero, 1);
  defaults.min_p = number("min_p", defaults.min_p, 0, 1);
  defaults.repetition_penalty =
      number("repetition_penalty", defaults.repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty);
  if (!fields.boolean_or("do_sample", true)) defaults.temperature = 0;
  config.eos_ids = fields.end_token_ids("eos_token_id", vocab_size, config.left_out).value_or(std::vector<TokenId>());
  OCTET_RETURN_IF_ERROR(fields.status());
  return config;
}

}  // namespace octet
