#include "runtime/service/grpc/answer.h"

#include <algorithm>

namespace octet {
namespace {

// Tokens of a prompt that one chunk lists at most, so that a long prompt's log-probabilities stay small messages.
constexpr int kPromptTokensOfChunk = 256;

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
double seconds(const std::optional<Time>& from, const std::optional<Time>& to) {
  return from && to ? std::chrono::duration<double>(*to - *from).count() : 0;
}

void add_timings(Time arrival, const FinishEvent& event, v1::Timings& timings) {
  const SampleTimes& times = event.times;
  timings.set_queue(seconds(arrival, times.first_scheduled));
  timings.set_prefill(seconds(times.first_scheduled, times.first_token));
  timings.set_decode(seconds(times.first_token, times.last_token));
  timings.set_time_to_first_token(seconds(arrival, times.first_token));
  timings.set_total(seconds(arrival, times.last_token));
  timings.set_num_preemptions(static_cast<uint32_t>(event.num_preemptions));
}

void add_logprobs(const Logprobs& logprobs, v1::Token& token) {
  token.set_logprob(logprobs.chosen);
  for (const TokenLogprob& top : logprobs.top) {
    v1::TokenLogprob& entry = *token.add_top();
    entry.set_id(top.token_id);
    entry.set_logprob(top.logprob);
  }
}

bool contains(const std::vector<TokenId>& ids, TokenId id) { return std::ranges::find(ids, id) != ids.end(); }

}  // namespace

Result<Answer> Answer::create(const GenerationJob& job, const ServedModel& model, ResponseSink& sink) {
  Answer answer(job, model, sink);
  const std::vector<TokenId>& prompt = job.request.prompt;
  if (job.echo) {
    answer.prompt_ = prompt;
  } else if (job.request.prompt_logprobs) {
    answer.prompt_ = {prompt.front()};
  }
  for (int64_t i = 0; i < job.request.params.num_samples; ++i) OCTET_RETURN_IF_ERROR(answer.start_sample());
  return answer;
}

Status Answer::start_sample() {
  Sample& sample = samples_.emplace_back();
  if (model_.tokenizer == nullptr) return ok_status();
  TextStreamOptions options{.stop = job_.request.params.stop,
                            .strip_leading_space = job_.is_chat,
                            .include_stop = job_.include_stop,
                            .keep_special = job_.keep_special};
  if (!job_.is_chat) options.prompt = job_.request.prompt;
  OCTET_ASSIGN_OR_RETURN(sample.text, TextStream::create(*model_.tokenizer, options));
  return read_resumed(*sample.text);
}

Status Answer::read_resumed(TextStream& text) const {
  const Request& request = job_.request;
  for (const TokenId id : request.resumed_output) {
    const bool is_eos = !request.params.ignore_eos && contains(request.eos_ids, id);
    if (is_eos || contains(request.params.stop_token_ids, id)) {
      return invalid_field("resume.token_ids", "token {} has ended the output", id);
    }
    text.add(id);
    if (text.stop()) return invalid_field("resume.token_ids", "a stop string has ended the output");
  }
  return ok_status();
}

std::string Answer::prompt_text() const {
  if (model_.tokenizer == nullptr) return "";
  StreamingDetokenizer detokenizer(*model_.tokenizer, {.strip_leading_space = model_.tokenizer->adds_leading_space(),
                                                       .keep_special = job_.keep_special});
  std::string text;
  for (const TokenId id : prompt_) text += detokenizer.add(id);
  return text;  // a character that the prompt only began is completed, or not, by the output
}

// The prompt, where it is wanted, in front of the first token.
void Answer::begin(Sample& sample, uint32_t index) {
  sample.started = true;
  sample.chunk.set_index(index);
  if (!job_.echo) return;
  sample.chunk.set_text(prompt_text());
  if (index != 0 || !lists_tokens() || job_.request.prompt_logprobs) return;
  for (const TokenId id : prompt_) add_token(sample.chunk, id, /*is_prompt=*/true);
}

v1::Token& Answer::add_token(v1::GenerateChunk& chunk, TokenId id, bool is_prompt) const {
  v1::Token& token = *chunk.add_tokens();
  token.set_id(id);
  token.set_is_prompt(is_prompt);
  if (model_.tokenizer != nullptr) token.set_piece(std::string(model_.tokenizer->piece(id)));
  return token;
}

void Answer::on_prompt_logprobs(const PromptTokenEvent& event) {
  Sample& first = samples_.front();
  if (!first.started) {
    begin(first, 0);
    add_token(first.chunk, prompt_.front(), /*is_prompt=*/true);
  }
  v1::Token& token = add_token(first.chunk, event.token_id, /*is_prompt=*/true);
  add_logprobs(event.logprobs, token);
  token.mutable_routed_experts()->Add(event.experts.begin(), event.experts.end());
  if (first.chunk.tokens_size() >= kPromptTokensOfChunk) send(first);
}

bool Answer::on_token(const TokenEvent& event) {
  Sample& sample = samples_[static_cast<size_t>(event.id.sample)];
  if (!sample.started) begin(sample, static_cast<uint32_t>(event.id.sample));
  v1::GenerateChunk& chunk = sample.chunk;
  if (lists_tokens()) {
    v1::Token& token = add_token(chunk, event.token_id, /*is_prompt=*/false);
    if (event.logprobs != nullptr) add_logprobs(*event.logprobs, token);
    token.mutable_routed_experts()->Add(event.experts.begin(), event.experts.end());
  }
  const bool ends_by_token = event.finish == FinishReason::kStop || event.finish == FinishReason::kEos;
  if (event.finish == FinishReason::kStop) chunk.set_stop_token_id(event.token_id);
  // A token that ends the text is not part of it, unless it is one that is wanted by its name.
  const auto is_wanted_name = [&] {
    return job_.keep_special && model_.tokenizer->kind(event.token_id) == TokenKind::kControl;
  };
  if (sample.text && (!ends_by_token || is_wanted_name()))
    chunk.mutable_text()->append(sample.text->add(event.token_id));
  const bool met_stop = !ends_by_token && sample.text && sample.text->stop();
  if (met_stop) chunk.set_stop_text(*sample.text->stop());
  if (event.finish == FinishReason::kNone && !met_stop) send(sample);
  return met_stop;
}

void Answer::on_finish(const FinishEvent& event) {
  Sample& sample = samples_[static_cast<size_t>(event.id.sample)];
  if (!sample.started) begin(sample, static_cast<uint32_t>(event.id.sample));
  v1::GenerateChunk& chunk = sample.chunk;
  if (sample.text) chunk.mutable_text()->append(sample.text->flush());
  chunk.set_finish_reason(to_proto(event.reason));
  v1::Usage& usage = *chunk.mutable_usage();
  usage.set_prompt_tokens(static_cast<uint32_t>(event.num_prompt_tokens));
  usage.set_completion_tokens(static_cast<uint32_t>(event.num_output_tokens));
  usage.set_cached_tokens(static_cast<uint32_t>(event.num_cached_tokens));
  add_timings(job_.arrival, event, *chunk.mutable_timings());
  send(sample);
  ++num_finished_;
}

// Nothing is sent where nothing is to be told.
void Answer::send(Sample& sample) {
  v1::GenerateChunk& chunk = sample.chunk;
  if (chunk.text().empty() && chunk.tokens().empty() && chunk.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return;
  chunk.set_request_id(job_.request_id);
  chunk.set_seed(*job_.request.params.sampling.seed);
  const uint32_t index = chunk.index();
  sink_.push(std::exchange(chunk, {}));
  chunk.set_index(index);
}

}  // namespace octet
