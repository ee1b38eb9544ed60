#include "runtime/engine/generation_params.h"

#include <charconv>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/base/quote.h"

namespace octet {
namespace {

using nlohmann::json;

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

using Setter = Status (*)(const json& value, GenerationParams& params);

template <auto member>
Status set(const json& value, GenerationParams& params) {
  return read(value, params.*member);
}

template <auto member>
Status set_sampling(const json& value, GenerationParams& params) {
  return read(value, params.sampling.*member);
}

const std::map<std::string_view, Setter>& setters() {
  static const std::map<std::string_view, Setter> table = {
      {"max_tokens", set<&GenerationParams::max_tokens>},
      {"min_tokens", set<&GenerationParams::min_tokens>},
      {"stop_token_ids", set<&GenerationParams::stop_token_ids>},
      {"stop", set<&GenerationParams::stop>},
      {"ignore_eos", set<&GenerationParams::ignore_eos>},
      {"logprobs", set<&GenerationParams::logprobs>},
      {"cache_salt", set<&GenerationParams::cache_salt>},
      {"num_samples", set<&GenerationParams::num_samples>},
      {"logit_bias", set_sampling<&SamplingParams::logit_bias>},
      {"repetition_penalty", set_sampling<&SamplingParams::repetition_penalty>},
      {"frequency_penalty", set_sampling<&SamplingParams::frequency_penalty>},
      {"presence_penalty", set_sampling<&SamplingParams::presence_penalty>},
      {"temperature", set_sampling<&SamplingParams::temperature>},
      {"top_k", set_sampling<&SamplingParams::top_k>},
      {"top_p", set_sampling<&SamplingParams::top_p>},
      {"min_p", set_sampling<&SamplingParams::min_p>},
      {"seed", set_sampling<&SamplingParams::seed>},
  };
  return table;
}

}  // namespace

Status set_generation_param(std::string_view name, const json& value, GenerationParams& params) {
  const auto it = setters().find(name);
  if (it == setters().end()) return invalid_input("unknown key {}", quote(name));
  const Status status = it->second(value, params);
  if (!status.ok()) return invalid_input("{} {}", name, status.message());
  return ok_status();
}

}  // namespace octet
