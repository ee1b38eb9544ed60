#include "launcher/sampling_flags.h"

#include <nlohmann/json.hpp>

#include "runtime/base/quote.h"

namespace octet {
namespace {

// No number if the text is none.
nlohmann::json number(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

// "ID=X" entries, X a number, as an object.
nlohmann::json bias_object(const std::vector<std::string>& entries) {
  auto object = nlohmann::json::object();
  for (const std::string& entry : entries) {
    const auto equals = entry.find('=');
    object[entry.substr(0, equals)] = number(entry.substr(equals + 1));
  }
  return object;
}

}  // namespace

void SamplingFlags::add(CLI::App& app, const char* name, const char* param, Kind kind, const char* type,
                        const char* help) {
  Flag& flag = flags_.emplace_back(Flag{name, param, kind, nullptr, {}});
  if (kind == Kind::kSwitch) {
    flag.option = app.add_flag(std::string("--") + name)->description(help);
  } else {
    flag.option = app.add_option(std::string("--") + name, flag.values, help)->type_name(type);
    flag.option->allow_extra_args(false);
    if (kind == Kind::kNumber || kind == Kind::kText) flag.option->expected(1);
  }
  flag.option->group("Sampling");
}

void SamplingFlags::declare(CLI::App& app) {
  add(app, "max-tokens", "max_tokens", Kind::kNumber, "N", "most tokens of output");
  add(app, "min-tokens", "min_tokens", Kind::kNumber, "N", "no EOS or stop token before this many");
  add(app, "temperature", "temperature", Kind::kNumber, "X", "0: always the most probable token; 1: as the model says");
  add(app, "top-k", "top_k", Kind::kNumber, "N", "choose among the N most probable tokens; 0: off");
  add(app, "top-p", "top_p", Kind::kNumber, "X", "choose among the fewest tokens that together have this probability");
  add(app, "min-p", "min_p", Kind::kNumber, "X", "drop tokens less probable than X times the most probable one");
  add(app, "repetition-penalty", "repetition_penalty", Kind::kNumber, "X",
      "above 1: tokens seen before become less likely");
  add(app, "frequency-penalty", "frequency_penalty", Kind::kNumber, "X",
      "taken off a logit for each time it was put out");
  add(app, "presence-penalty", "presence_penalty", Kind::kNumber, "X", "taken off the logits of tokens put out before");
  add(app, "logit-bias", "logit_bias", Kind::kMap, "ID=X", "add X to the logit of token ID (repeatable)");
  add(app, "seed", "seed", Kind::kNumber, "N", "of the draws; unset: drawn, and reported by --json");
  add(app, "stop", "stop", Kind::kTexts, "TEXT", "end the output before this text (repeatable)");
  add(app, "stop-token-id", "stop_token_ids", Kind::kNumbers, "ID", "end the output at this token (repeatable)");
  add(app, "ignore-eos", "ignore_eos", Kind::kSwitch, "", "go on after an end-of-sequence token");
  add(app, "logprobs", "logprobs", Kind::kNumber, "N",
      "report each token's log-probability and the N most probable (--json)");
  add(app, "cache-salt", "cache_salt", Kind::kText, "TEXT",
      "share cached beginnings of prompts only with requests of the same text");
  add(app, "num-samples", "num_samples", Kind::kNumber, "N", "independent outputs of the prompt");
}

Status SamplingFlags::check_numbers(const Flag& flag) {
  const bool is_map = flag.kind == Kind::kMap;
  if (flag.kind != Kind::kNumber && flag.kind != Kind::kNumbers && !is_map) return ok_status();
  for (const std::string& given : flag.values) {
    const auto equals = is_map ? given.find('=') : std::string::npos;
    const bool has_form = !is_map || equals != std::string::npos;
    if (has_form && number(given.substr(equals + 1)).is_number()) continue;
    return invalid_input("--{}: {} is not {}", flag.name, quote(given), is_map ? "ID=X with a number X" : "a number");
  }
  return ok_status();
}

Result<GenerationParams> SamplingFlags::params(const GenerationDefaults& defaults) const {
  GenerationParams params;
  params.sampling = defaults.sampling();
  for (const Flag& flag : flags_) {
    if (flag.option->count() == 0) continue;
    OCTET_RETURN_IF_ERROR(check_numbers(flag));
    nlohmann::json value;
    switch (flag.kind) {
      case Kind::kNumber:
        value = number(flag.values.back());
        break;
      case Kind::kTexts:
        value = flag.values;
        break;
      case Kind::kText:
        value = flag.values.back();
        break;
      case Kind::kNumbers:
        for (const std::string& text : flag.values) value.push_back(number(text));
        break;
      case Kind::kMap:
        value = bias_object(flag.values);
        break;
      case Kind::kSwitch:
        value = flag.option->as<bool>();
        break;
    }
    const Status status = set_generation_param(flag.param, value, params);
    if (status.ok()) continue;
    const std::string given = flag.kind == Kind::kNumber ? " " + quote(flag.values.back()) : "";
    return invalid_input("--{}{}: {}", flag.name, given, status.message());
  }
  return params;
}

}  // namespace octet
