// Generator: what answers the prompts of a command: a model in this process, or a service.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/generation_params.h"
#include "runtime/engine/prompt_source.h"
#include "runtime/session/generate_call.h"
#include "runtime/session/generation_result.h"

namespace octet {

// How a command follows a generation. Both are called by the thread that called generate().
struct GenerationHooks {
  // Text of sample `index` as it is released; empty pieces are not told.
  std::function<void(int64_t index, const std::string& text)> on_text;
  // Asked again and again, some ten times a second at least; true ends the outputs as kCancelled.
  std::function<bool()> should_stop;
};

// A prompt that its generator has made ready, once for all that is asked about it.
struct PreparedPrompt {
  int64_t num_tokens = 0;
  std::variant<GenerateCall, PromptSource> content = {};  // encoded here, or for a service to encode
};

// Not thread-safe.
class Generator {
 public:
  virtual ~Generator() = default;

  // What sampling flags that are not given stand for.
  virtual const GenerationDefaults& defaults() const = 0;
  // Tokens of prompt and output together.
  virtual int64_t max_context() const = 0;
  // Makes a prompt ready to be asked. kInvalidInput where the model cannot take it.
  virtual Result<PreparedPrompt> prepare(PromptSource source) = 0;
  // What generate() would refuse, as far as it can be known before load().
  virtual Status check(PreparedPrompt& prompt, const GenerationParams& params) = 0;
  // Makes ready what takes time. Call once, before generate().
  virtual Status load() = 0;
  // Answers a prompt; `result` has what came, also where the status says that it broke off. An unset seed is drawn.
  virtual Status generate(PreparedPrompt prompt, const GenerationParams& params, const GenerationHooks& hooks,
                          GenerationResult& result) = 0;
};

}  // namespace octet
