#include "runtime/model/logit_edits.h"

#include <limits>

namespace octet {

LogitEdits::LogitEdits(int64_t vocab_size) : slots_(static_cast<size_t>(vocab_size), -1) {}

void LogitEdits::append(const SamplingParams& params, std::span<const TokenId> tokens, int64_t prompt_size,
                        std::span<const TokenId> banned, std::vector<LogitEdit>& edits) {
  const size_t first = edits.size();
  const auto edit_of = [&](TokenId id) -> LogitEdit& {
    int32_t& slot = slots_[static_cast<size_t>(id)];
    if (slot < 0) {
      slot = static_cast<int32_t>(edits.size());
      edits.push_back({.token_id = id});
    }
    return edits[static_cast<size_t>(slot)];
  };
  for (const auto& [token_id, bias] : params.logit_bias) edit_of(token_id).bias = static_cast<float>(bias);
  if (params.repetition_penalty != 1.0) {
    for (const TokenId id : tokens) edit_of(id).repetition = static_cast<float>(params.repetition_penalty);
  }
  if (params.frequency_penalty != 0.0 || params.presence_penalty != 0.0) {
    // Occurrences first.
    for (const TokenId id : tokens.subspan(static_cast<size_t>(prompt_size))) edit_of(id).penalty += 1.0F;
    const auto frequency = static_cast<float>(params.frequency_penalty);
    const auto presence = static_cast<float>(params.presence_penalty);
    for (LogitEdit& edit : std::span(edits).subspan(first)) {
      if (edit.penalty > 0) edit.penalty = frequency * edit.penalty + presence;
    }
  }
  for (const TokenId id : banned) edit_of(id).bias = -std::numeric_limits<float>::infinity();
  for (const LogitEdit& edit : std::span(edits).subspan(first)) slots_[static_cast<size_t>(edit.token_id)] = -1;
}

}  // namespace octet
