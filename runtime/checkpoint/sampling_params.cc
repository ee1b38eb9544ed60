#include "runtime/checkpoint/sampling_params.h"

#include <cmath>
#include <random>
#include <string_view>

namespace octet {
namespace {

constexpr double kMaxLogitBias = 100.0;

// NaN is outside every range.
Status check_range(std::string_view name, double value, double low, double high) {
  if (value >= low && value <= high) return ok_status();
  return invalid_input("{} {} is not in [{}, {}]", name, value, low, high);
}

Status check_logit_bias(const std::map<TokenId, double>& logit_bias, int64_t vocab_size) {
  for (const auto& [token_id, bias] : logit_bias) {
    if (token_id < 0 || token_id >= vocab_size) {
      return invalid_input("logit_bias token {} is not in [0, {})", token_id, vocab_size);
    }
    OCTET_RETURN_IF_ERROR(
        check_range(fmt::format("logit_bias of token {}:", token_id), bias, -kMaxLogitBias, kMaxLogitBias));
  }
  return ok_status();
}

}  // namespace

bool SamplingParams::changes_logits() const {
  return !logit_bias.empty() || repetition_penalty != 1.0 || frequency_penalty != 0.0 || presence_penalty != 0.0;
}

Status SamplingParams::validate(int64_t vocab_size) const {
  OCTET_RETURN_IF_ERROR(check_logit_bias(logit_bias, vocab_size));
  OCTET_RETURN_IF_ERROR(
      check_range("repetition_penalty", repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty));
  OCTET_RETURN_IF_ERROR(check_range("frequency_penalty", frequency_penalty, -2.0, 2.0));
  OCTET_RETURN_IF_ERROR(check_range("presence_penalty", presence_penalty, -2.0, 2.0));
  OCTET_RETURN_IF_ERROR(check_range("temperature", temperature, 0.0, kMaxTemperature));
  if (top_k < 0) return invalid_input("top_k {} is below 0 (0: off)", top_k);
  if (!(top_p > 0.0 && top_p <= 1.0)) return invalid_input("top_p {} is not in (0, 1]", top_p);
  OCTET_RETURN_IF_ERROR(check_range("min_p", min_p, 0.0, 1.0));
  if (!greedy() && !seed) return invalid_input("seed is not set, and temperature {} draws", temperature);
  return ok_status();
}

uint64_t draw_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace octet
