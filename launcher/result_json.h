// What a prompt brought, as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "runtime/session/generation_result.h"

namespace octet {

// The object of `generate --json` for one sample.
nlohmann::ordered_json result_json(const GenerationResult& result, size_t index);

}  // namespace octet
