#include "runtime/checkpoint/generation_params.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "runtime/base/quote.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr ParamRange kUnit{0, 1}, kPenalty{-2, 2};

constexpr auto kParams = std::to_array<GenerationParam>({
    {.name = "max_tokens",
     .member = &GenerationParams::max_tokens,
     .proto = "stop.max_new_tokens",
     .value_name = "N",
     .help = "most tokens of output"},
    {.name = "min_tokens",
     .member = &GenerationParams::min_tokens,
     .proto = "stop.min_new_tokens",
     .value_name = "N",
     .help = "no EOS or stop token before this many"},
    {.name = "temperature",
     .member = &SamplingParams::temperature,
     .proto = "sampling.temperature",
     .value_name = "X",
     .help = "0: always the most probable token; 1: as the model says",
     .range = {0, 2},
     .step = 5,
     .in_checkpoint = true},
    {.name = "top_k",
     .member = &SamplingParams::top_k,
     .proto = "sampling.top_k",
     .value_name = "N",
     .help = "choose among the N most probable tokens; 0: off",
     .range = {.least = 0, .hint = " (0: off)"},
     .step = 6,
     .in_checkpoint = true},
    {.name = "top_p",
     .member = &SamplingParams::top_p,
     .proto = "sampling.top_p",
     .value_name = "X",
     .help = "choose among the fewest tokens that together have this probability",
     .range = {.least = 0, .most = 1, .is_above_least = true},
     .step = 7,
     .in_checkpoint = true},
    {.name = "min_p",
     .member = &SamplingParams::min_p,
     .proto = "sampling.min_p",
     .value_name = "X",
     .help = "drop tokens less probable than X times the most probable one",
     .range = kUnit,
     .step = 8,
     .in_checkpoint = true},
    {.name = "repetition_penalty",
     .member = &SamplingParams::repetition_penalty,
     .proto = "sampling.repetition_penalty",
     .value_name = "X",
     .help = "above 1: tokens seen before become less likely",
     .range = {0.1, 10},
     .step = 2,
     .in_checkpoint = true},
    {.name = "frequency_penalty",
     .member = &SamplingParams::frequency_penalty,
     .proto = "sampling.frequency_penalty",
     .value_name = "X",
     .help = "taken off a logit for each time it was put out",
     .range = kPenalty,
     .step = 3},
    {.name = "presence_penalty",
     .member = &SamplingParams::presence_penalty,
     .proto = "sampling.presence_penalty",
     .value_name = "X",
     .help = "taken off the logits of tokens put out before",
     .range = kPenalty,
     .step = 4},
    {.name = "logit_bias",
     .member = &SamplingParams::logit_bias,
     .proto = "sampling.logit_bias",
     .value_name = "ID=X",
     .help = "add X to the logit of token ID (repeatable)",
     .range = {-100, 100},
     .step = 1},
    {.name = "seed",
     .member = &SamplingParams::seed,
     .proto = "sampling.seed",
     .value_name = "N",
     .help = "of the draws; unset: drawn, and reported by --json",
     .step = 9},
    {.name = "stop",
     .member = &GenerationParams::stop,
     .proto = "stop.stop",
     .value_name = "TEXT",
     .help = "end the output before this text (repeatable)"},
    {.name = "stop_token_ids",
     .member = &GenerationParams::stop_token_ids,
     .proto = "stop.stop_token_ids",
     .value_name = "ID",
     .help = "end the output at this token (repeatable)",
     .flag = "stop-token-id"},
    {.name = "ignore_eos",
     .member = &GenerationParams::ignore_eos,
     .proto = "stop.ignore_eos",
     .value_name = "",
     .help = "go on after an end-of-sequence token"},
    {.name = "logprobs",
     .member = &GenerationParams::logprobs,
     .proto = "response.logprobs",
     .value_name = "N",
     .help = "report each token's log-probability and the N most probable (--json)"},
    {.name = "cache_salt",
     .member = &GenerationParams::cache_salt,
     .proto = "cache_salt",
     .value_name = "TEXT",
     .help = "share cached beginnings of prompts only with requests of the same text"},
    {.name = "num_samples",
     .member = &GenerationParams::num_samples,
     .proto = "sampling.n",
     .value_name = "N",
     .help = "independent outputs of the prompt"},
});

Status wrong_type(const json& value, std::string_view expected) {
  return invalid_input("is {}, not {}", value.type_name(), expected);
}

Status read(const json& value, double& out) {
  if (!value.is_number()) return wrong_type(value, "a number");
  out = value.get<double>();
  return ok_status();
}

Status read(const json& value, int64_t& out) {
  if (!value.is_number_integer()) return wrong_type(value, "an integer");
  if (value.is_number_unsigned() && value.get<uint64_t>() > std::numeric_limits<int64_t>::max()) {
    return invalid_input("{} is too large", value.get<uint64_t>());
  }
  out = value.get<int64_t>();
  return ok_status();
}

Status read(const json& value, uint64_t& out) {
  if (!value.is_number_unsigned()) return wrong_type(value, "an integer in [0, 2^64)");
  out = value.get<uint64_t>();
  return ok_status();
}

Status read(const json& value, TokenId& out) {
  int64_t wide = 0;
  OCTET_RETURN_IF_ERROR(read(value, wide));
  if (wide < 0 || wide > std::numeric_limits<TokenId>::max()) return invalid_input("{} is not a token id", wide);
  out = static_cast<TokenId>(wide);
  return ok_status();
}

Status read(const json& value, bool& out) {
  if (!value.is_boolean()) return wrong_type(value, "true or false");
  out = value.get<bool>();
  return ok_status();
}

Status read(const json& value, std::string& out) {
  if (!value.is_string()) return wrong_type(value, "a string");
  out = value.get<std::string>();
  return ok_status();
}

template <typename T>
Status read(const json& value, std::optional<T>& out) {
  return read(value, out.emplace());
}

// One value may stand for an array of one.
template <typename T>
Status read(const json& value, std::vector<T>& out) {
  out.clear();
  if (!value.is_array()) return read(value, out.emplace_back());
  for (const json& element : value) OCTET_RETURN_IF_ERROR(read(element, out.emplace_back()));
  return ok_status();
}

// {"token id": bias, ...}
Status read(const json& value, std::map<TokenId, double>& out) {
  if (!value.is_object()) return wrong_type(value, "an object of token ids and numbers");
  out.clear();
  for (const auto& [key, bias] : value.items()) {
    TokenId token_id = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token_id);
    if (error != std::errc() || end != key.data() + key.size())
      return invalid_input("{} is not a token id", quote(key));
    OCTET_RETURN_IF_ERROR(read(bias, out[token_id]));
  }
  return ok_status();
}

}  // namespace

std::span<const GenerationParam> generation_params() { return kParams; }

const GenerationParam* find_generation_param(std::string_view name) {
  const auto* found = std::ranges::find(kParams, name, &GenerationParam::name);
  return found == kParams.end() ? nullptr : found;
}

Status set_generation_param(std::string_view name, const json& value, GenerationParams& params) {
  const GenerationParam* param = find_generation_param(name);
  if (param == nullptr) return invalid_input("unknown key {}", quote(name));
  const Status status = visit_param(*param, params, [&](auto& member) { return read(value, member); });
  return status.ok() ? status : invalid_field(name, "{}", status.message());
}

}  // namespace octet
