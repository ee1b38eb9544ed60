#include "runtime/model/generation_config.h"

#include <limits>

#include "runtime/model/json_text.h"

namespace octet {
namespace {

constexpr double kMaxTemperature = 2.0;
constexpr double kMaxPenalty = 100.0;
constexpr double kAboveZero = std::numeric_limits<float>::min();

}  // namespace

Result<GenerationConfig> parse_generation_config(std::string_view text, int64_t vocab_size) {
  OCTET_ASSIGN_OR_RETURN(const nlohmann::json object, parse_json_object(text));
  JsonFields fields(object);
  GenerationConfig config;
  GenerationDefaults& defaults = config.defaults;
  defaults.temperature = fields.number_or("temperature", defaults.temperature, 0, kMaxTemperature);
  defaults.top_k = fields.integer_or("top_k", defaults.top_k, 0, std::numeric_limits<int32_t>::max());
  defaults.top_p = fields.number_or("top_p", defaults.top_p, kAboveZero, 1);
  defaults.min_p = fields.number_or("min_p", defaults.min_p, 0, 1);
  defaults.repetition_penalty =
      fields.number_or("repetition_penalty", defaults.repetition_penalty, kAboveZero, kMaxPenalty);
  if (!fields.boolean_or("do_sample", true)) defaults.temperature = 0;
  config.eos_ids = fields.token_ids("eos_token_id", vocab_size).value_or(std::vector<TokenId>());
  OCTET_RETURN_IF_ERROR(fields.status());
  return config;
}

}  // namespace octet
