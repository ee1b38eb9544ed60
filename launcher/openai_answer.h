// Bodies of answers in OpenAI's form.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/engine/openai_line.h"
#include "runtime/session/generation_result.h"

namespace octet {

// The chat.completion or text_completion of a request whose outputs are all there. model: as it is told; id: what the
// answer's id ends with.
nlohmann::ordered_json openai_body(const OpenAiLine& line, const GenerationResult& result, const std::string& model,
                                   const std::string& id);

}  // namespace octet
