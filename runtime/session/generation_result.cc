#include "runtime/session/generation_result.h"

namespace octet {

void GenerationResult::begin(int64_t num_samples) {
  outputs.assign(static_cast<size_t>(num_samples), {});
  num_tokens_ = 0;
  begun_ = first_token_ = last_token_ = Clock::now();
}

void GenerationResult::add_token(size_t index, TokenId token_id, const Logprobs* logprobs) {
  last_token_ = Clock::now();
  if (num_tokens_++ == 0) first_token_ = last_token_;
  outputs[index].token_ids.push_back(token_id);
  if (logprobs != nullptr) outputs[index].logprobs.push_back({token_id, *logprobs});
}

double GenerationResult::prefill_tokens_per_second() const {
  const double duration = time_to_first_token();
  return duration > 0 ? static_cast<double>(num_prompt_tokens) / duration : 0;
}

double GenerationResult::decode_tokens_per_second() const {
  const double duration = seconds(first_token_, last_token_);
  const int64_t num_first = std::ssize(outputs);  // every sample's first token comes out of the prefill
  return duration > 0 ? static_cast<double>(num_tokens_ - num_first) / duration : 0;
}

}  // namespace octet
