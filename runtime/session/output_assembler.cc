#include "runtime/session/output_assembler.h"

#include <algorithm>
#include <utility>

namespace octet {
namespace {

// Tokens of a prompt that one chunk lists at most, so that a long prompt's log-probabilities stay small messages.
constexpr int64_t kPromptTokensOfChunk = 256;

bool contains(const std::vector<TokenId>& ids, TokenId id) { return std::ranges::find(ids, id) != ids.end(); }

}  // namespace

Result<OutputAssembler> OutputAssembler::create(const GenerateCall& call, const Tokenizer* tokenizer,
                                                OutputSink& sink) {
  if (tokenizer == nullptr && !call.request.params.stop.empty()) {
    return invalid_input("stop: the model has no tokenizer");
  }
  OutputAssembler assembler(call, tokenizer, sink);
  const std::vector<TokenId>& prompt = call.request.prompt;
  if (call.echo) {
    assembler.prompt_ = prompt;
  } else if (call.request.prompt_logprobs && !prompt.empty()) {
    assembler.prompt_ = {prompt.front()};
  }
  for (int64_t i = 0; i < call.request.params.num_samples; ++i) OCTET_RETURN_IF_ERROR(assembler.start_sample());
  return assembler;
}

Status OutputAssembler::start_sample() {
  Sample& sample = samples_.emplace_back();
  if (tokenizer_ == nullptr) return ok_status();
  TextStreamOptions options{.stop = call_.request.params.stop,
                            .strip_leading_space = call_.is_chat,
                            .include_stop = call_.include_stop,
                            .keep_special = call_.keep_special};
  if (!call_.is_chat) options.prompt = call_.request.prompt;
  OCTET_ASSIGN_OR_RETURN(sample.text, TextStream::create(*tokenizer_, options));
  return read_resumed(*sample.text);
}

Status OutputAssembler::read_resumed(TextStream& text) const {
  const Request& request = call_.request;
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

std::string OutputAssembler::prompt_text() const {
  if (tokenizer_ == nullptr) return "";
  StreamingDetokenizer detokenizer(
      *tokenizer_, {.strip_leading_space = tokenizer_->adds_leading_space(), .keep_special = call_.keep_special});
  std::string text;
  for (const TokenId id : prompt_) text += detokenizer.add(id);
  return text;  // a character that the prompt only began is completed, or not, by the output
}

// The prompt, where it is wanted, in front of the first token.
void OutputAssembler::begin(Sample& sample, int64_t index) {
  sample.started = true;
  sample.chunk.index = index;
  if (!call_.echo) return;
  sample.chunk.text = prompt_text();
  if (index != 0 || !lists_tokens() || call_.request.prompt_logprobs) return;
  for (const TokenId id : prompt_) add_token(sample.chunk, id, /*is_prompt=*/true);
}

OutputToken& OutputAssembler::add_token(OutputChunk& chunk, TokenId id, bool is_prompt) const {
  OutputToken& token = chunk.tokens.emplace_back();
  token.id = id;
  token.is_prompt = is_prompt;
  if (tokenizer_ != nullptr) token.piece = tokenizer_->piece(id);
  return token;
}

void OutputAssembler::on_prompt_logprobs(const PromptTokenEvent& event) {
  Sample& first = samples_.front();
  if (!first.started) {
    begin(first, 0);
    add_token(first.chunk, prompt_.front(), /*is_prompt=*/true);
  }
  OutputToken& token = add_token(first.chunk, event.token_id, /*is_prompt=*/true);
  token.logprobs = event.logprobs;
  token.experts.assign(event.experts.begin(), event.experts.end());
  if (std::ssize(first.chunk.tokens) >= kPromptTokensOfChunk) send(first);
}

bool OutputAssembler::on_token(const TokenEvent& event) {
  Sample& sample = samples_[static_cast<size_t>(event.id.sample)];
  if (!sample.started) begin(sample, event.id.sample);
  OutputChunk& chunk = sample.chunk;
  if (lists_tokens()) {
    OutputToken& token = add_token(chunk, event.token_id, /*is_prompt=*/false);
    if (event.logprobs != nullptr) token.logprobs = *event.logprobs;
    token.experts.assign(event.experts.begin(), event.experts.end());
  }
  const bool ends_by_token = event.finish == FinishReason::kStop || event.finish == FinishReason::kEos;
  if (event.finish == FinishReason::kStop) chunk.stop_token_id = event.token_id;
  // A token that ends the text is not part of it, unless it is one that is wanted by its name.
  const auto is_wanted_name = [&] {
    return call_.keep_special && tokenizer_->kind(event.token_id) == TokenKind::kControl;
  };
  if (sample.text && (!ends_by_token || is_wanted_name())) chunk.text += sample.text->add(event.token_id);
  const bool met_stop = !ends_by_token && sample.text && sample.text->stop();
  if (met_stop) chunk.stop_text = sample.text->stop();
  if (event.finish == FinishReason::kNone && !met_stop) send(sample);
  return met_stop;
}

void OutputAssembler::on_finish(const FinishEvent& event) {
  Sample& sample = samples_[static_cast<size_t>(event.id.sample)];
  if (!sample.started) begin(sample, event.id.sample);
  if (sample.text) sample.chunk.text += sample.text->flush();
  sample.chunk.finish = event;
  send(sample);
  ++num_finished_;
}

// Nothing is sent where nothing is to be told.
void OutputAssembler::send(Sample& sample) {
  OutputChunk& chunk = sample.chunk;
  if (chunk.text.empty() && chunk.tokens.empty() && !chunk.finish) return;
  const int64_t index = chunk.index;
  sink_.push(call_, std::exchange(chunk, {}));
  chunk.index = index;
}

}  // namespace octet
