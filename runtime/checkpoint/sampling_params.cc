#include "runtime/checkpoint/sampling_params.h"

#include <algorithm>
#include <random>
#include <string_view>

#include "runtime/checkpoint/generation_params.h"

namespace octet {
namespace {

// Those that are checked here, in the order in which they are applied.
std::vector<const GenerationParam*> params_by_step() {
  std::vector<const GenerationParam*> params;
  for (const GenerationParam& param : generation_params()) {
    if (param.step > 0) params.push_back(&param);
  }
  std::ranges::sort(params, {}, &GenerationParam::step);
  return params;
}

// prefix: what stands between the name and the value.
template <typename Number>
Status check_range(const GenerationParam& param, Number value, const std::string& prefix = "") {
  const ParamRange& range = param.range;
  if (range.contains(static_cast<double>(value))) return ok_status();
  if (range.most == std::numeric_limits<double>::infinity()) {
    return invalid_field(param.name, "{}{} is below {}{}", prefix, value, range.least, range.hint);
  }
  return invalid_field(param.name, "{}{} is not in {}{}, {}]{}", prefix, value, range.is_above_least ? '(' : '[',
                       range.least, range.most, range.hint);
}

// What is wrong with one parameter's value, whatever its type.
struct Checker {
  const GenerationParam& param;
  int64_t vocab_size;

  Status operator()(double value) const { return check_range(param, value); }
  Status operator()(int64_t value) const { return check_range(param, value); }
  Status operator()(const std::optional<uint64_t>&) const { return ok_status(); }
  Status operator()(const std::map<TokenId, double>& biases) const {
    for (const auto& [token_id, bias] : biases) {
      if (token_id < 0 || token_id >= vocab_size) {
        return invalid_field(param.name, "token {} is not in [0, {})", token_id, vocab_size);
      }
      OCTET_RETURN_IF_ERROR(check_range(param, bias, fmt::format("of token {}: ", token_id)));
    }
    return ok_status();
  }
};

}  // namespace

bool SamplingParams::changes_logits() const {
  return !logit_bias.empty() || repetition_penalty != 1.0 || frequency_penalty != 0.0 || presence_penalty != 0.0;
}

Status SamplingParams::validate(int64_t vocab_size) const {
  static const std::vector<const GenerationParam*> params = params_by_step();
  for (const GenerationParam* param : params) {
    const auto check = [&]<typename Member>(const Member member) {
      if constexpr (requires { this->*member; }) {
        return Checker{*param, vocab_size}(this->*member);
      } else {
        return ok_status();  // not of these
      }
    };
    OCTET_RETURN_IF_ERROR(std::visit(check, param->member));
  }
  if (!greedy() && !seed) return invalid_field("seed", "is not set, and temperature {} draws", temperature);
  return ok_status();
}

uint64_t draw_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace octet
