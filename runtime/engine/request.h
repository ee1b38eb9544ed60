// What a client hands to the engine, and what it hears back.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/generation_params.h"
#include "runtime/engine/sequence.h"
#include "runtime/model/sampler.h"

namespace octet {

// The largest priority of a request; the smallest is its negative.
inline constexpr int32_t kMaxPriority = 100;

struct Request {
  std::vector<TokenId> prompt = {};
  GenerationParams params = {};  // max_tokens 0 is good where prompt logits are wanted
  std::vector<TokenId> eos_ids = {};
  // Prompt positions whose logits the client wants to see, ascending; or all of them.
  std::vector<int64_t> prompt_logit_positions = {};
  bool all_prompt_logits = false;
  // Log-probabilities of each prompt token but the first, and of this many most probable ones in its place. Not beside
  // prompt_logit_positions.
  std::optional<int64_t> prompt_logprobs = {};
  // The experts chosen in the row from whose logits a token is drawn, or a prompt token scored: given with each.
  bool routed_experts = false;
  // To resume an output that was cut off: its tokens so far, which count as output, and its sample index. Only with one
  // sample.
  std::vector<TokenId> resumed_output = {};
  int64_t first_sample_index = 0;
  int32_t priority = 0;  // larger runs sooner; the scheduler says how much
};

enum class FinishReason {
  kNone,    // goes on
  kLength,  // max_tokens or the context's end
  kEos,     // the last token is an EOS token
  kStop,    // the last token is a stop token, or the client's callback said so
  kCancelled,
  kTimeLimit,  // its client's time was over
  kError,
};

// "length", "eos", …; empty for kNone.
std::string_view finish_reason_name(FinishReason reason);

struct TokenEvent {
  SequenceId id;
  int64_t output_index = 0;  // of the token in its output
  TokenId token_id = 0;
  const Logprobs* logprobs = nullptr;         // if asked for; valid during the call
  std::span<const int32_t> experts = {};      // the same; [num_layers, top_k], each layer's most probable first
  FinishReason finish = FinishReason::kNone;  // why this is the last token, if it is
};

// A prompt token but the first.
struct PromptTokenEvent {
  int64_t position = 0;
  TokenId token_id = 0;
  const Logprobs& logprobs;               // valid during the call
  std::span<const int32_t> experts = {};  // as TokenEvent's
};

// When a sample came how far. Unset: it never did.
struct SampleTimes {
  using Clock = std::chrono::steady_clock;
  Clock::time_point submitted;
  std::optional<Clock::time_point> first_scheduled;  // rows of the request in a step
  std::optional<Clock::time_point> first_token;      // of this sample
  std::optional<Clock::time_point> last_token;
};

struct FinishEvent {
  SequenceId id;
  FinishReason reason = FinishReason::kNone;
  Status status;  // of kError
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;  // those resumed included
  int64_t num_cached_tokens = 0;  // of the prompt (and output resumed) that the prefix cache held
  int64_t num_preemptions = 0;
  SampleTimes times;
};

// Called by the thread that calls Engine::step, in the order of a sample's tokens. They may call submit and cancel, not
// step.
struct RequestCallbacks {
  // Returns true to end the output with this token (say, its text completes a stop string).
  std::function<bool(const TokenEvent&)> on_token = {};
  // Once for every sample, the last call for it.
  std::function<void(const FinishEvent&)> on_finish = {};
  // Raw logits [vocab] of a wanted prompt position, valid during the call; each position once, ascending.
  std::function<void(int64_t position, std::span<const float> logits)> on_prompt_logits = {};
  // What Request::prompt_logprobs asked for; ascending.
  std::function<void(const PromptTokenEvent&)> on_prompt_logprobs = {};
};

// What requests are held against.
struct RequestBounds {
  int64_t vocab_size = 0;
  int64_t max_context = 0;  // tokens of prompt and output together
  int64_t max_num_samples = 0;
  int64_t max_logprobs = 0;
};

// kInvalidInput naming the first field that is wrong (Status::field), its value and its bound.
Status validate_request(const Request& request, const RequestBounds& bounds);

// Output tokens that a valid request may have.
int64_t output_limit(const Request& request, int64_t max_context);

}  // namespace octet
