#include "runtime/checkpoint/checkpoint_names.h"

#include <fmt/format.h>

namespace octet {
namespace {

constexpr LayoutNames make_hf_names(bool fused) {
  return {.embedding = "model.embed_tokens.weight",
          .final_norm = "model.norm.weight",
          .output = "lm_head.weight",
          .layer_prefix = "model.layers.",
          .attention_norm = "input_layernorm.weight",
          .q = "self_attn.q_proj.weight",
          .k = "self_attn.k_proj.weight",
          .v = "self_attn.v_proj.weight",
          .o = "self_attn.o_proj.weight",
          .moe_norm = "post_attention_layernorm.weight",
          .gate = fused ? "mlp.gate.weight" : "block_sparse_moe.gate.weight",
          .expert_prefix = fused ? "mlp.experts." : "block_sparse_moe.experts.",
          .fused_experts = fused};
}

MatrixPlace matrix(std::string tensor, int64_t num_rows, int64_t num_columns, RowOrder order = RowOrder::kAsStored) {
  return {std::move(tensor), {num_rows, num_columns}, 0, num_rows, num_columns, order};
}

}  // namespace

const LayoutNames kHfNames = make_hf_names(false);
const LayoutNames kHfFusedNames = make_hf_names(true);
const LayoutNames kNativeNames = {.embedding = "tok_embeddings.weight",
                                  .final_norm = "norm.weight",
                                  .output = "output.weight",
                                  .layer_prefix = "layers.",
                                  .attention_norm = "attention_norm.weight",
                                  .q = "attention.wq.weight",
                                  .k = "attention.wk.weight",
                                  .v = "attention.wv.weight",
                                  .o = "attention.wo.weight",
                                  .moe_norm = "ffn_norm.weight",
                                  .gate = "feed_forward.gate.weight",
                                  .expert_prefix = "feed_forward.experts.",
                                  .fused_experts = false};

std::string CheckpointLayout::layer_name(int64_t layer, std::string_view name) const {
  return fmt::format("{}{}.{}", names_.layer_prefix, layer, name);
}

MatrixPlace CheckpointLayout::vector(std::string tensor) const {
  return {std::move(tensor), {config_.hidden_size}, 0, 1, config_.hidden_size, RowOrder::kAsStored};
}

MatrixPlace CheckpointLayout::embedding() const {
  return matrix(std::string(names_.embedding), config_.vocab_size, config_.hidden_size);
}

MatrixPlace CheckpointLayout::final_norm() const { return vector(std::string(names_.final_norm)); }

MatrixPlace CheckpointLayout::output() const {
  if (config_.tie_embeddings) return embedding();
  return matrix(std::string(names_.output), config_.vocab_size, config_.hidden_size);
}

AttentionPlaces CheckpointLayout::attention(int64_t layer) const {
  const bool neighbours = config_.rope_pairs == RopePairs::kNeighbours;
  const int64_t hidden = config_.hidden_size;
  return {.norm = vector(layer_name(layer, names_.attention_norm)),
          .q = matrix(layer_name(layer, names_.q), config_.query_size(), hidden,
                      neighbours ? RowOrder::kQuery : RowOrder::kAsStored),
          .k = matrix(layer_name(layer, names_.k), config_.kv_size(), hidden,
                      neighbours ? RowOrder::kKey : RowOrder::kAsStored),
          .v = matrix(layer_name(layer, names_.v), config_.kv_size(), hidden),
          .o = matrix(layer_name(layer, names_.o), hidden, config_.query_size())};
}

MatrixPlace CheckpointLayout::moe_norm(int64_t layer) const { return vector(layer_name(layer, names_.moe_norm)); }

MatrixPlace CheckpointLayout::gate(int64_t layer) const {
  return matrix(layer_name(layer, names_.gate), config_.num_experts, config_.hidden_size);
}

ExpertPlaces CheckpointLayout::expert(int64_t layer, int64_t expert) const {
  const int64_t hidden = config_.hidden_size;
  const int64_t ffn = config_.intermediate_size;
  const std::string prefix = layer_name(layer, names_.expert_prefix);
  if (!names_.fused_experts) {
    return {.w1 = matrix(fmt::format("{}{}.w1.weight", prefix, expert), ffn, hidden),
            .w3 = matrix(fmt::format("{}{}.w3.weight", prefix, expert), ffn, hidden),
            .w2 = matrix(fmt::format("{}{}.w2.weight", prefix, expert), hidden, ffn)};
  }
  const int64_t experts = config_.num_experts;
  const MatrixPlace w1 = {prefix + "gate_up_proj", {experts, 2 * ffn, hidden}, expert * 2 * ffn, ffn, hidden};
  MatrixPlace w3 = w1;
  w3.first_row += ffn;
  return {.w1 = w1, .w3 = w3, .w2 = {prefix + "down_proj", {experts, hidden, ffn}, expert * hidden, hidden, ffn}};
}

Status CheckpointLayout::for_each(const std::function<Status(const MatrixPlace&)>& visit) const {
  for (const MatrixPlace& place : {embedding(), final_norm(), output()}) OCTET_RETURN_IF_ERROR(visit(place));
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    const AttentionPlaces places = attention(layer);
    for (const MatrixPlace* place : {&places.norm, &places.q, &places.k, &places.v, &places.o}) {
      OCTET_RETURN_IF_ERROR(visit(*place));
    }
    OCTET_RETURN_IF_ERROR(visit(moe_norm(layer)));
    OCTET_RETURN_IF_ERROR(visit(gate(layer)));
    for (int64_t e = 0; e < config_.num_experts; ++e) {
      const ExpertPlaces matrices = expert(layer, e);
      for (const MatrixPlace* place : {&matrices.w1, &matrices.w3, &matrices.w2}) OCTET_RETURN_IF_ERROR(visit(*place));
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
