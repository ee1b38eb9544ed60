#include "runtime/service/grpc/output_message.h"

#include <utility>

namespace octet {
namespace {

v1::FinishReason to_proto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kEos:
      return v1::FINISH_REASON_EOS;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kTimeLimit:
      return v1::FINISH_REASON_TIME_LIMIT;
    case FinishReason::kError:
      return v1::FINISH_REASON_ERROR;
  }
  return v1::FINISH_REASON_ERROR;
}

using Time = SampleTimes::Clock::time_point;

// Zero where one of the two never came.
double passed(const std::optional<Time>& from, const std::optional<Time>& to) {
  return from && to ? std::chrono::duration<double>(*to - *from).count() : 0;
}

void add_timings(Time arrival, const FinishEvent& event, v1::Timings& timings) {
  const SampleTimes& times = event.times;
  timings.set_queue(passed(arrival, times.first_scheduled));
  timings.set_prefill(passed(times.first_scheduled, times.first_token));
  timings.set_decode(passed(times.first_token, times.last_token));
  timings.set_time_to_first_token(passed(arrival, times.first_token));
  timings.set_total(passed(arrival, times.last_token));
  timings.set_num_preemptions(static_cast<uint32_t>(event.num_preemptions));
}

void add_token(const OutputToken& from, v1::Token& token) {
  token.set_id(from.id);
  token.set_is_prompt(from.is_prompt);
  token.set_piece(std::string(from.piece));
  token.mutable_routed_experts()->Add(from.experts.begin(), from.experts.end());
  if (!from.logprobs) return;
  token.set_logprob(from.logprobs->chosen);
  for (const TokenLogprob& top : from.logprobs->top) {
    v1::TokenLogprob& entry = *token.add_top();
    entry.set_id(top.token_id);
    entry.set_logprob(top.logprob);
  }
}

void add_finish(const GenerateCall& call, const FinishEvent& event, v1::GenerateChunk& message) {
  message.set_finish_reason(to_proto(event.reason));
  v1::Usage& usage = *message.mutable_usage();
  usage.set_prompt_tokens(static_cast<uint32_t>(event.num_prompt_tokens));
  usage.set_completion_tokens(static_cast<uint32_t>(event.num_output_tokens));
  usage.set_cached_tokens(static_cast<uint32_t>(event.num_cached_tokens));
  add_timings(call.arrival, event, *message.mutable_timings());
}

}  // namespace

v1::GenerateChunk to_message(const GenerateCall& call, OutputChunk&& chunk) {
  v1::GenerateChunk message;
  message.set_request_id(call.request_id);
  message.set_seed(*call.request.params.sampling.seed);
  message.set_index(static_cast<uint32_t>(chunk.index));
  message.set_text(std::move(chunk.text));
  for (const OutputToken& token : chunk.tokens) add_token(token, *message.add_tokens());
  if (chunk.stop_text) message.set_stop_text(std::move(*chunk.stop_text));
  if (chunk.stop_token_id) message.set_stop_token_id(*chunk.stop_token_id);
  if (chunk.finish) add_finish(call, *chunk.finish, message);
  return message;
}

}  // namespace octet
