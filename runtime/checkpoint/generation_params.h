// What a request may ask of its output, and the one table of what can be asked: names, bounds, and where each is said.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/sampling_params.h"

namespace octet {

struct GenerationParams {
  SamplingParams sampling = {};
  std::optional<int64_t> max_tokens = {};    // of output; unset: to the end of the context
  int64_t min_tokens = 0;                    // of output before an EOS or stop token may come; at most max_tokens
  std::vector<TokenId> stop_token_ids = {};  // end the output, and are its last token
  std::vector<std::string> stop =
      {};                   // texts that end the output; for whoever turns tokens to text, not for the engine
  bool ignore_eos = false;  // EOS is a token like any other
  std::optional<int64_t> logprobs = {};  // log-probabilities of each token and of this many most probable ones
  int64_t num_samples = 1;               // independent outputs of the one prompt
  std::string cache_salt = {};           // not empty: share cached prefixes only with requests of the same text
};

// The numbers that are good, of a map its values. NaN is outside every range.
struct ParamRange {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool is_above_least = false;  // `least` itself is not good
  const char* hint = "";        // behind the bound in an error

  bool contains(double value) const { return (is_above_least ? value > least : value >= least) && value <= most; }
};

// One parameter. Its default is its member's. A new one is a row of the table, a member and, for clients, a field of
// octet.proto: flags, batch lines, requests and their errors follow.
struct GenerationParam {
  using Member = std::variant<double SamplingParams::*, int64_t SamplingParams::*,
                              std::optional<uint64_t> SamplingParams::*, std::map<TokenId, double> SamplingParams::*,
                              int64_t GenerationParams::*, std::optional<int64_t> GenerationParams::*,
                              bool GenerationParams::*, std::string GenerationParams::*,
                              std::vector<TokenId> GenerationParams::*, std::vector<std::string> GenerationParams::*>;

  const char* name;  // the key of a batch line, and, with dashes, the flag
  Member member;
  const char* proto;           // path of its field in octet.v1.GenerateRequest
  const char* value_name;      // in the flag's help; empty: a switch
  const char* help;            // of the flag
  const char* flag = "";       // without dashes in front, where it is not the name
  ParamRange range = {};       // those bounds that do not depend on model and engine
  int step = 0;                // of what changes logits or their choice: its place in the order in which this is done
  bool in_checkpoint = false;  // generation_config.json may set its default
};

// All of them, in the order in which help lists them.
std::span<const GenerationParam> generation_params();
// Null where none has the name.
const GenerationParam* find_generation_param(std::string_view name);

// What the visitor makes of the parameter's member of `params`.
template <typename Params, typename Visitor>
decltype(auto) visit_param(const GenerationParam& param, Params& params, Visitor&& visitor) {
  return std::visit(
      [&](const auto member) -> decltype(auto) {
        if constexpr (requires { params.*member; }) {
          return visitor(params.*member);
        } else {
          return visitor(params.sampling.*member);
        }
      },
      param.member);
}

// Sets the parameter called `name` from untrusted JSON. kInvalidInput naming the parameter and what is wrong with its
// value; an unknown name is one, too. Bounds are checked by the engine, which knows the vocabulary and the context.
Status set_generation_param(std::string_view name, const nlohmann::json& value, GenerationParams& params);

}  // namespace octet
