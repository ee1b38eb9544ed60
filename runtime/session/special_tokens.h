// The special tokens of a model: one answer for every command and the service.
#pragma once

#include <optional>
#include <vector>

#include "runtime/base/tensor.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/text/tokenizer.h"

namespace octet {

struct SpecialTokens {
  // The tokenizer's (see Tokenizer::bos_id); without one, the configuration's BOS and nothing else.
  std::optional<TokenId> bos, eos, unk, pad;
  bool add_bos = false;  // in front of a text
  bool add_eos = false;  // behind a text
  // What a sequence begins with where it must begin with something: BOS, where the tokenizer has none the
  // configuration's.
  TokenId begin = 0;
  // Where an output ends: what generation_config.json says, else config.json, as the reference implementation's
  // generate does.
  std::vector<TokenId> end;
};

// `tokenizer`: null where the model has none. `config`: as Checkpoint::config gives it.
SpecialTokens resolve_special_tokens(const ModelConfig& config, const Tokenizer* tokenizer);

}  // namespace octet
