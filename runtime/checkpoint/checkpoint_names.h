// Where each layout keeps each matrix of the model: tensor, shape and rows, as data.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

// The row orders that turn neighbouring RoPE pairs into halves: of a file's q rows, of its k rows.
enum class RowOrder { kAsStored, kQuery, kKey };

// A matrix is `num_rows` consecutive rows of a tensor that is read as [all leading extents, num_columns].
struct MatrixPlace {
  std::string tensor;
  std::vector<int64_t> shape;  // that the tensor must have
  int64_t first_row = 0;
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  RowOrder order = RowOrder::kAsStored;
};

// One layout's names. Layer names stand behind `layer_prefix`, the layer's number and a dot.
struct LayoutNames {
  std::string_view embedding, final_norm, output;
  std::string_view layer_prefix;
  std::string_view attention_norm, q, k, v, o;
  std::string_view moe_norm, gate;
  std::string_view expert_prefix;  // per-expert tensors: prefix, number, ".w1.weight"
  bool fused_experts = false;  // instead: gate_up_proj [experts, 2 ffn, hidden] and down_proj [experts, hidden, ffn]
};

extern const LayoutNames kHfNames;
extern const LayoutNames kHfFusedNames;
extern const LayoutNames kNativeNames;

struct AttentionPlaces {
  MatrixPlace norm, q, k, v, o;
};

struct ExpertPlaces {
  MatrixPlace w1, w3, w2;
};

// Computes places; holds references to both arguments, which must outlive it.
class CheckpointLayout {
 public:
  CheckpointLayout(const LayoutNames& names, const ModelConfig& config) : names_(names), config_(config) {}

  MatrixPlace embedding() const;
  MatrixPlace final_norm() const;
  MatrixPlace output() const;  // the embedding where tied
  AttentionPlaces attention(int64_t layer) const;
  MatrixPlace moe_norm(int64_t layer) const;
  MatrixPlace gate(int64_t layer) const;
  ExpertPlaces expert(int64_t layer, int64_t expert) const;

  // Calls `visit` with every matrix of the model until it returns an error.
  Status for_each(const std::function<Status(const MatrixPlace&)>& visit) const;

 private:
  std::string layer_name(int64_t layer, std::string_view name) const;
  MatrixPlace vector(std::string tensor) const;

  const LayoutNames& names_;
  const ModelConfig& config_;
};

// The rows of a native q or k tensor of `num_heads` heads in the order of halves: row i of a head's first half is
// stored at 2i, row i of its second half at 2i + 1. [num_heads * head_dim]
std::vector<int32_t> halves_from_neighbours(int64_t num_heads, int64_t head_dim);

}  // namespace octet
