// What a client hands to the engine, and what it hears back.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/generation_params.h"
#include "runtime/engine/sequence.h"
#include "runtime/model/sampler.h"

namespace octet {

struct Request {
  std::vector<TokenId> prompt = {};
  GenerationParams params = {};  // max_tokens 0 is good where prompt logits are wanted
  std::vector<TokenId> eos_ids = {};
  // Prompt positions whose logits the client wants to see, ascending; or all of them.
  std::vector<int64_t> prompt_logit_positions = {};
  bool all_prompt_logits = false;
  // To resume an output that was cut off: its tokens so far, which count as output, and its sample index. Only with one
  // sample.
  std::vector<TokenId> resumed_output = {};
  int64_t first_sample_index = 0;
};

enum class FinishReason {
  kNone,    // goes on
  kLength,  // max_tokens or the context's end
  kEos,     // the last token is an EOS token
  kStop,    // the last token is a stop token, or the client's callback said so
  kCancelled,
  kError,
};

// "length", "eos", …; empty for kNone.
std::string_view finish_reason_name(FinishReason reason);

struct TokenEvent {
  SequenceId id;
  int64_t output_index = 0;  // of the token in its output
  TokenId token_id = 0;
  const Logprobs* logprobs = nullptr;         // if asked for; valid during the call
  FinishReason finish = FinishReason::kNone;  // why this is the last token, if it is
};

struct FinishEvent {
  SequenceId id;
  FinishReason reason = FinishReason::kNone;
  Status status;  // of kError
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;  // those resumed included
};

// Called by the thread that calls Engine::step, in the order of a sample's tokens. They may call submit and cancel, not
// step.
struct RequestCallbacks {
  // Returns true to end the output with this token (say, its text completes a stop string).
  std::function<bool(const TokenEvent&)> on_token;
  // Once for every sample, the last call for it.
  std::function<void(const FinishEvent&)> on_finish;
  // Raw logits [vocab] of a wanted prompt position, valid during the call; each position once, ascending.
  std::function<void(int64_t position, std::span<const float> logits)> on_prompt_logits;
};

// What requests are held against.
struct RequestBounds {
  int64_t vocab_size = 0;
  int64_t max_context = 0;  // tokens of prompt and output together
  int64_t max_num_samples = 0;
  int64_t max_logprobs = 0;
};

// kInvalidInput naming the first field that is wrong, its value and its bound.
Status validate_request(const Request& request, const RequestBounds& bounds);

// Output tokens that a valid request may have.
int64_t output_limit(const Request& request, int64_t max_context);

}  // namespace octet
