// Prompts from what clients send: text, token ids, conversations. Untrusted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/service/octet.pb.h"
#include "runtime/service/served_model.h"
#include "runtime/service/service_limits.h"

namespace octet {

struct ParsedPrompt {
  std::vector<TokenId> ids;
  std::optional<TokenId> answer_end = {};  // of a conversation: the token that ends the answer as EOS does
};

// Errors are kInvalidInput with the field. Thread-safe. The ids of `tokens` are used as given: the engine checks
// them.
Result<ParsedPrompt> parse_prompt(const v1::GenerateRequest& request, const ServedModel& model,
                                  const ServiceLimits& limits);
Result<ParsedPrompt> parse_prompt(const v1::TokenizeRequest& request, const ServedModel& model,
                                  const ServiceLimits& limits);

// The text of ids that need not be the model's.
Result<std::string> parse_detokenize(const v1::DetokenizeRequest& request, const ServedModel& model);

}  // namespace octet
