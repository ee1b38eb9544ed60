#include "runtime/session/special_tokens.h"

namespace octet {

SpecialTokens resolve_special_tokens(const ModelConfig& config, const Tokenizer* tokenizer) {
  SpecialTokens tokens;
  tokens.bos = config.bos_id;
  tokens.begin = config.bos_id;
  tokens.end = config.eos_ids;
  if (tokenizer == nullptr) return tokens;
  tokens.bos = tokenizer->bos_id();
  tokens.eos = tokenizer->eos_id();
  tokens.unk = tokenizer->unk_id();
  tokens.pad = tokenizer->pad_id();
  tokens.add_bos = tokenizer->adds_bos();
  tokens.add_eos = tokenizer->adds_eos();
  // A token that the model has no row for cannot begin a sequence.
  if (tokens.bos && *tokens.bos < config.vocab_size) tokens.begin = *tokens.bos;
  return tokens;
}

}  // namespace octet
