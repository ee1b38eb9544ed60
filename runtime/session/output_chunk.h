// OutputChunk: a part of one output, and OutputSink: where the chunks of a call go.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/engine/request.h"
#include "runtime/session/generate_call.h"

namespace octet {

struct OutputToken {
  TokenId id = 0;
  std::string_view piece = {};  // of the vocabulary, which owns it; empty without a tokenizer
  bool is_prompt = false;
  std::optional<Logprobs> logprobs = {};
  std::vector<int32_t> experts = {};  // as TokenEvent's
};

// text is exactly what the tokens release.
struct OutputChunk {
  int64_t index = 0;  // of the sample
  std::string text = {};
  std::vector<OutputToken> tokens = {};  // where the call lists them
  std::optional<std::string> stop_text = {};
  std::optional<TokenId> stop_token_id = {};
  std::optional<FinishEvent> finish = {};  // in the sample's last chunk
};

class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // The next part of the answer to `call`, in the order of each sample's tokens. In the engine's thread.
  virtual void push(const GenerateCall& call, OutputChunk chunk) = 0;
};

}  // namespace octet
