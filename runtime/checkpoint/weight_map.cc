#include "runtime/checkpoint/weight_map.h"

#include <fmt/format.h>

namespace octet {
namespace {

using enum MatrixRole;

constexpr MatrixRule& rule(WeightMap& map, MatrixRole role) { return map[static_cast<size_t>(role)]; }

constexpr WeightMap make_hf_map() {
  WeightMap map;
  rule(map, kEmbedding).tensor = "model.embed_tokens.weight";
  rule(map, kFinalNorm).tensor = "model.norm.weight";
  rule(map, kOutput).tensor = "lm_head.weight";
  rule(map, kAttentionNorm).tensor = "model.layers.{layer}.input_layernorm.weight";
  rule(map, kQuery) = {.tensor = "model.layers.{layer}.self_attn.q_proj.weight", .rotated = true};
  rule(map, kKey) = {.tensor = "model.layers.{layer}.self_attn.k_proj.weight", .rotated = true};
  rule(map, kValue).tensor = "model.layers.{layer}.self_attn.v_proj.weight";
  rule(map, kAttentionOutput).tensor = "model.layers.{layer}.self_attn.o_proj.weight";
  rule(map, kExpertNorm).tensor = "model.layers.{layer}.post_attention_layernorm.weight";
  rule(map, kGate).tensor = "model.layers.{layer}.block_sparse_moe.gate.weight";
  rule(map, kW1).tensor = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight";
  rule(map, kW3).tensor = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight";
  rule(map, kW2).tensor = "model.layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight";
  return map;
}

constexpr WeightMap make_hf_fused_map() {
  WeightMap map = make_hf_map();
  constexpr std::string_view kGateUp = "model.layers.{layer}.mlp.experts.gate_up_proj";
  rule(map, kGate).tensor = "model.layers.{layer}.mlp.gate.weight";
  rule(map, kW1) = {.tensor = kGateUp, .all_experts = true, .stacked = 2, .index = 0};
  rule(map, kW3) = {.tensor = kGateUp, .all_experts = true, .stacked = 2, .index = 1};
  rule(map, kW2) = {.tensor = "model.layers.{layer}.mlp.experts.down_proj", .all_experts = true};
  return map;
}

constexpr WeightMap make_native_map() {
  WeightMap map;
  rule(map, kEmbedding).tensor = "tok_embeddings.weight";
  rule(map, kFinalNorm).tensor = "norm.weight";
  rule(map, kOutput).tensor = "output.weight";
  rule(map, kAttentionNorm).tensor = "layers.{layer}.attention_norm.weight";
  rule(map, kQuery) = {.tensor = "layers.{layer}.attention.wq.weight", .rotated = true};
  rule(map, kKey) = {.tensor = "layers.{layer}.attention.wk.weight", .rotated = true};
  rule(map, kValue).tensor = "layers.{layer}.attention.wv.weight";
  rule(map, kAttentionOutput).tensor = "layers.{layer}.attention.wo.weight";
  rule(map, kExpertNorm).tensor = "layers.{layer}.ffn_norm.weight";
  rule(map, kGate).tensor = "layers.{layer}.feed_forward.gate.weight";
  rule(map, kW1).tensor = "layers.{layer}.feed_forward.experts.{expert}.w1.weight";
  rule(map, kW3).tensor = "layers.{layer}.feed_forward.experts.{expert}.w3.weight";
  rule(map, kW2).tensor = "layers.{layer}.feed_forward.experts.{expert}.w2.weight";
  return map;
}

constexpr std::array<std::string_view, kNumMatrixRoles> kLabels = {
    "embedding",   "final norm",  "output matrix", "attention norm", "attention q", "attention k",
    "attention v", "attention o", "expert norm",   "gate",           "w1",          "w3",
    "w2"};

struct MatrixShape {
  int64_t num_rows, num_columns;
};

MatrixShape shape_of(const ModelConfig& config, MatrixRole role) {
  const int64_t hidden = config.hidden_size;
  switch (role) {
    case kEmbedding:
    case kOutput:
      return {config.vocab_size, hidden};
    case kQuery:
      return {config.query_size(), hidden};
    case kKey:
    case kValue:
      return {config.kv_size(), hidden};
    case kAttentionOutput:
      return {hidden, config.query_size()};
    case kGate:
      return {config.num_experts, hidden};
    case kW1:
    case kW3:
      return {config.intermediate_size, hidden};
    case kW2:
      return {hidden, config.intermediate_size};
    case kFinalNorm:
    case kAttentionNorm:
    case kExpertNorm:
      break;
  }
  return {1, hidden};
}

bool is_vector(MatrixRole role) { return role == kFinalNorm || role == kAttentionNorm || role == kExpertNorm; }

}  // namespace

const WeightMap kHfMap = make_hf_map();
const WeightMap kHfFusedMap = make_hf_fused_map();
const WeightMap kNativeMap = make_native_map();

std::string matrix_label(const MatrixId& id) {
  const std::string_view label = kLabels[static_cast<size_t>(id.role)];
  if (id.role < kAttentionNorm) return std::string(label);
  if (id.role < kW1) return fmt::format("layer {}, {}", id.layer, label);
  return fmt::format("layer {}, expert {} {}", id.layer, id.expert, label);
}

MatrixPlace place_of(const WeightMap& map, const ModelConfig& config, MatrixId id) {
  if (id.role == kOutput && config.tie_embeddings) id.role = kEmbedding;
  const MatrixRule& rule = map[static_cast<size_t>(id.role)];
  const auto [num_rows, num_columns] = shape_of(config, id.role);
  MatrixPlace place;
  place.num_rows = num_rows;
  place.num_columns = num_columns;
  place.rotated = rule.rotated;
  place.tensor = fmt::format(fmt::runtime(rule.tensor), fmt::arg("layer", id.layer), fmt::arg("expert", id.expert));
  if (rule.all_experts) place.shape.push_back(config.num_experts);
  if (!is_vector(id.role)) place.shape.push_back(rule.stacked * num_rows);
  place.shape.push_back(num_columns);
  place.first_row = ((rule.all_experts ? id.expert * rule.stacked : 0) + rule.index) * num_rows;
  return place;
}

Status for_each_matrix(const ModelConfig& config, const std::function<Status(const MatrixId&)>& visit) {
  const auto visit_roles = [&](MatrixRole first, MatrixRole last, int64_t layer, int64_t expert) {
    for (auto role = static_cast<size_t>(first); role <= static_cast<size_t>(last); ++role) {
      OCTET_RETURN_IF_ERROR(visit({static_cast<MatrixRole>(role), layer, expert}));
    }
    return ok_status();
  };
  OCTET_RETURN_IF_ERROR(visit_roles(kEmbedding, kOutput, 0, 0));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    OCTET_RETURN_IF_ERROR(visit_roles(kAttentionNorm, kGate, layer, 0));
    for (int64_t expert = 0; expert < config.num_experts; ++expert) {
      OCTET_RETURN_IF_ERROR(visit_roles(kW1, kW2, layer, expert));
    }
  }
  return ok_status();
}

std::vector<int32_t> halves_from_neighbours(int64_t num_heads, int64_t head_dim) {
  std::vector<int32_t> order;
  order.reserve(static_cast<size_t>(num_heads * head_dim));
  for (int64_t head = 0; head < num_heads; ++head) {
    for (int64_t half = 0; half < 2; ++half) {
      for (int64_t i = 0; i < head_dim / 2; ++i) order.push_back(static_cast<int32_t>(head * head_dim + 2 * i + half));
    }
  }
  return order;
}

}  // namespace octet
