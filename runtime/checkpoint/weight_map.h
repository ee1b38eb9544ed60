// Where a layout of checkpoints keeps each matrix of the model, as data: the tensor's name, and what makes the matrix
// of it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

// What a matrix is to the model. In the order in which they are visited: once a model, once a layer, once an expert.
enum class MatrixRole : uint8_t {
  kEmbedding,
  kFinalNorm,
  kOutput,
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kExpertNorm,
  kGate,
  kW1,
  kW3,
  kW2,
};
inline constexpr size_t kNumMatrixRoles = 13;

// One matrix of the model. Those of no layer, or of no expert, have a 0 there.
struct MatrixId {
  MatrixRole role = MatrixRole::kEmbedding;
  int64_t layer = 0;
  int64_t expert = 0;
};

// What people call it: "layer 3, expert 1 w2".
std::string matrix_label(const MatrixId& id);

// How a layout keeps the matrices of one role.
struct MatrixRule {
  std::string_view tensor;   // its name, with {layer} and {expert} for their numbers
  bool all_experts = false;  // the tensor is [experts, …]: those of all experts, one behind the other
  int64_t stacked = 1;       // matrices of this shape that it has one above the other …
  int64_t index = 0;         // … of which this is one
  bool rotated = false;      // rows are heads that RoPE rotates, in the pairs that the configuration tells
};

// By role.
using WeightMap = std::array<MatrixRule, kNumMatrixRoles>;

extern const WeightMap kHfMap;       // Hugging Face, a tensor a matrix
extern const WeightMap kHfFusedMap;  // Hugging Face, all experts' in two tensors a layer
extern const WeightMap kNativeMap;   // Mistral's own

// A matrix is `num_rows` consecutive rows of a tensor that is read as [all leading extents, num_columns].
struct MatrixPlace {
  std::string tensor;
  std::vector<int64_t> shape;  // that the tensor must have
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  bool rotated = false;  // as the rule's
};

// Where the layout keeps a matrix of a model; the output is the embedding where they are tied.
MatrixPlace place_of(const WeightMap& map, const ModelConfig& config, MatrixId id);

// Calls `visit` with every matrix of the model until it returns an error.
Status for_each_matrix(const ModelConfig& config, const std::function<Status(const MatrixId&)>& visit);

// The rows of a tensor of `num_heads` heads that keeps RoPE's pairs as neighbours, in the order of halves: row i of a
// head's first half is stored at 2i, row i of its second half at 2i + 1. [num_heads * head_dim]
std::vector<int32_t> halves_from_neighbours(int64_t num_heads, int64_t head_dim);

}  // namespace octet
