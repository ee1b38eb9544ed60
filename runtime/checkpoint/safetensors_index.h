// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// Shard's file name by tensor name. Parses untrusted text; a shard must be a plain file name beside the index (no
// folder, no
// "..", not absolute) that ends in .safetensors. Errors give the reason; the caller adds the path.
Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text);

}  // namespace octet
