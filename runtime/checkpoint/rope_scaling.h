// RoPE beyond a model's first context length: how a configuration says so, and the frequencies that follow.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "runtime/base/status.h"

namespace octet {

enum class RopeKind {
  kDefault,  // theta^(-2i / head_dim)
  kLinear,   // all frequencies divided by a factor (position interpolation; Chen et al., 2023)
  kDynamic,  // theta grows with the position ("NTK-aware", by the position that is reached)
  kLlama3,   // low frequencies divided, high ones kept, between them a smooth passage (Llama 3.1)
  kYarn,     // the same with a linear passage, and scaled rotations (Peng et al., 2023)
};

struct RopeScaling {
  RopeKind kind = RopeKind::kDefault;
  double factor = 1;
  int64_t original_positions = 0;    // the context that the model had before (kDynamic, kLlama3, kYarn)
  double low_frequency_factor = 0;   // kLlama3: wavelengths above original_positions / this are divided …
  double high_frequency_factor = 0;  // … and those below original_positions / this kept
  double beta_fast = 32;             // kYarn: the passage lies between the pairs that turn so often …
  double beta_slow = 1;              // … and so often in the original context
  bool truncate = true;              // kYarn: its ends are rounded to whole pairs
  double attention_factor = 1;       // multiplies cosines and sines
  bool original_is_assumed = false;  // the file names one context only: before or after scaling, it does not say

  bool operator==(const RopeScaling&) const = default;
};

// What a RoPE object may leave out.
struct RopeDefaults {
  int64_t declared_positions = 0;  // max_position_embeddings
  int64_t original_positions = 0;  // original_max_position_embeddings beside the object; 0: not there
};

// Reads {"rope_type" (older: "type"), "factor", …} as Hugging Face's configurations have it under `key`
// ("rope_scaling", "rope_parameters"). Parses untrusted text; errors name key, value and bound, and a kind that is not
// known.
Result<RopeScaling> parse_rope_scaling(const char* key, const nlohmann::json& object, const RopeDefaults& defaults);

// "yarn", …
const char* rope_kind_name(RopeKind kind);

// The frequencies of a token at `position`, in fp32 and rounded at each step as in the reference implementation
// (Hugging Face Transformers), then the attention factor: what Backend::rope_table takes. row: [head_dim / 2 + 1].
//
// With kDynamic they depend on the position p: theta is that of a sequence of p + 1 tokens. So a token is rotated alike
// whatever the sequence becomes, and however a prompt is cut into steps; the reference implementation does the same
// where it reads a sequence token by token (where it reads many at once, it gives all of them the frequencies of the
// last). All other kinds have one row for all positions.
void rope_frequencies(const RopeScaling& scaling, double theta, int64_t position, std::span<float> row);

}  // namespace octet
