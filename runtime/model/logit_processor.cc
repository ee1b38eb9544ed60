#include "runtime/model/logit_processor.h"

namespace octet {
namespace {

size_t slot(TokenId id) { return static_cast<size_t>(id); }

}  // namespace

LogitProcessor::LogitProcessor(int64_t vocab_size) : counts_(static_cast<size_t>(vocab_size)) {}

void LogitProcessor::apply(const SamplingParams& params, std::span<const TokenId> tokens, int64_t prompt_size,
                           std::span<float> logits) {
  for (const auto& [token_id, bias] : params.logit_bias) logits[slot(token_id)] += static_cast<float>(bias);
  if (params.repetition_penalty != 1.0) {
    penalise_repetition(static_cast<float>(params.repetition_penalty), tokens, logits);
  }
  if (params.frequency_penalty != 0.0 || params.presence_penalty != 0.0) {
    penalise_output(static_cast<float>(params.frequency_penalty), static_cast<float>(params.presence_penalty),
                    tokens.subspan(static_cast<size_t>(prompt_size)), logits);
  }
}

void LogitProcessor::penalise_repetition(float penalty, std::span<const TokenId> tokens, std::span<float> logits) {
  for (const TokenId id : tokens) {
    if (counts_[slot(id)]++ > 0) continue;
    float& logit = logits[slot(id)];
    logit = logit > 0.0F ? logit / penalty : logit * penalty;
  }
  for (const TokenId id : tokens) counts_[slot(id)] = 0;
}

void LogitProcessor::penalise_output(float frequency, float presence, std::span<const TokenId> output,
                                     std::span<float> logits) {
  for (const TokenId id : output) ++counts_[slot(id)];
  for (const TokenId id : output) {
    int32_t& count = counts_[slot(id)];
    if (count == 0) continue;  // an earlier occurrence has taken all of them
    logits[slot(id)] -= frequency * static_cast<float>(count) + presence;
    count = 0;
  }
}

}  // namespace octet
