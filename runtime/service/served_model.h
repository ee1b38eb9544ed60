// The model of a service, as requests see it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel/topology.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/engine/engine.h"
#include "runtime/session/special_tokens.h"
#include "runtime/text/chat/chat_template.h"
#include "runtime/text/tokenizer.h"

namespace octet {

struct ServedModel {
  std::string name;
  ModelConfig config;
  GenerationDefaults defaults;
  const Tokenizer* tokenizer = nullptr;  // null: only token ids are taken and given
  std::optional<ChatTemplate> chat_template = {};
  bool safe_prompt = false;  // Mistral's safety instructions stand in front of every conversation
  RequestBounds bounds;
  EngineOptions engine;
  Topology topology;
  std::vector<std::vector<int32_t>> experts_of_place;  // [ep]
  std::string device;
  int64_t kv_cache_tokens = 0;  // of all dp groups together

  SpecialTokens special_tokens() const { return resolve_special_tokens(config, tokenizer); }
};

}  // namespace octet
