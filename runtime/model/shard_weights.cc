#include "runtime/model/shard_weights.h"

#include <algorithm>
#include <utility>

namespace octet {
namespace {

// The checkpoint's matrices cut to what one rank owns.
struct AttentionSources {
  MatrixSource norm, q, k, v, o;
};

AttentionSources cut_attention(const AttentionTensors& full, const ModelConfig& config, const ShardPlan& plan) {
  const int64_t group = config.num_heads / config.num_kv_heads * config.head_dim;  // query elements of one KV head
  const Range kv = plan.kv_heads;
  const auto cut_rows = [&](const MatrixSource& m, int64_t per_head) {
    return m.slice_rows(kv.begin * per_head, kv.size() * per_head);
  };
  return {full.norm, cut_rows(full.q, group), cut_rows(full.k, config.head_dim), cut_rows(full.v, config.head_dim),
          full.o.slice_columns(kv.begin * group, kv.size() * group)};
}

ExpertTensors cut_expert(const ExpertTensors& full, Range ffn) {
  return {full.w1.slice_rows(ffn.begin, ffn.size()), full.w3.slice_rows(ffn.begin, ffn.size()),
          full.w2.slice_columns(ffn.begin, ffn.size())};
}

// Bounds of the KV-head groups' columns of Wo on a rank with `num_kv_heads` of them.
std::vector<int64_t> head_group_bounds(const ModelConfig& config, int64_t num_kv_heads) {
  return near_equal_bounds(num_kv_heads * (config.num_heads / config.num_kv_heads) * config.head_dim, num_kv_heads);
}

// Bounds of the ffn slices of a rank, relative to its first.
std::vector<int64_t> ffn_slice_bounds(const ModelConfig& config, Range slices) {
  std::vector<int64_t> bounds;
  for (int64_t s = slices.begin; s <= slices.end; ++s) {
    bounds.push_back(near_equal_part(config.intermediate_size, kNumFfnSlices, s).begin);
  }
  for (int64_t i = slices.size(); i >= 0; --i) bounds[static_cast<size_t>(i)] -= bounds.front();
  return bounds;
}

class Loader {
 public:
  Loader(Backend& backend, const LoadOptions& options) : backend_(backend), options_(options) {}

  Weight weight(std::vector<MatrixSource> parts, std::vector<int64_t> partial_bounds, bool gated = false) {
    const WeightFormat format = kept_format(parts);
    WeightSpec spec{std::move(parts), gated, format, std::move(partial_bounds)};
    Weight weight = backend_.prepare(spec);
    for (const MatrixSource& part : spec.parts) done_with(part);
    return weight;
  }

  Weight weight(const MatrixSource& matrix) { return weight({matrix}, {0, matrix.num_columns}); }

  // A row-major table of the kept type.
  Tensor table(const MatrixSource& matrix) {
    return rows(matrix, kept_format({matrix}).dtype(), {matrix.num_rows, matrix.num_columns});
  }
  // A vector as fp32.
  Tensor vector(const MatrixSource& matrix) { return rows(matrix, DType::kF32, {matrix.num_columns}); }

  int64_t bytes_read() const { return bytes_read_; }

 private:
  // Parts that the file keeps in different formats are widened to fp32, which is exact.
  WeightFormat kept_format(const std::vector<MatrixSource>& parts) const {
    if (options_.format) return *options_.format;
    const WeightFormat first = parts.front().format;
    return std::ranges::all_of(parts, [&](const MatrixSource& m) { return m.format == first; }) ? first : DType::kF32;
  }

  Tensor rows(const MatrixSource& matrix, DType dtype, Shape shape) {
    Tensor tensor = backend_.allocate_tensor(dtype, shape);
    const std::unique_ptr<Stream> stream = backend_.make_stream();
    std::vector<float> values(static_cast<size_t>(matrix.num_columns));
    std::vector<std::byte> row(static_cast<size_t>(matrix.num_columns * dtype_size(dtype)));
    TensorView flat{tensor.view.data, dtype, {matrix.num_rows, matrix.num_columns}};
    for (int64_t r = 0; r < matrix.num_rows; ++r) {
      read_as_f32(matrix.row(r), matrix.format.dtype(), matrix.num_columns, values.data());
      write_from_f32(values.data(), matrix.num_columns, dtype, row.data());
      backend_.upload(row.data(), flat.slice_rows(r, 1), *stream);
    }
    stream->synchronize();
    done_with(matrix);
    return tensor;
  }

  void done_with(const MatrixSource& matrix) {
    Checkpoint::drop_pages(matrix);
    bytes_read_ += matrix.num_bytes();
    if (options_.progress) options_.progress(bytes_read_);
  }

  Backend& backend_;
  const LoadOptions& options_;
  int64_t bytes_read_ = 0;
};

AttentionWeights load_attention(const AttentionSources& s, const ModelConfig& config, int64_t num_kv_heads,
                                Loader& load) {
  AttentionWeights weights;
  weights.norm = load.vector(s.norm);
  weights.qkv = load.weight({s.q, s.k, s.v}, {0, config.hidden_size});
  weights.output = load.weight({s.o}, head_group_bounds(config, num_kv_heads));
  return weights;
}

MoeWeights load_moe(const MoeTensors& tensors, Loader& load) {
  MoeWeights weights;
  weights.norm = load.vector(tensors.norm);
  weights.router = load.weight(tensors.gate);
  return weights;
}

ExpertWeights load_experts(const MoeTensors& tensors, const ModelConfig& config, const ShardPlan& plan, Loader& load,
                           Backend& backend) {
  std::vector<Weight> gate_up, down;
  for (const int32_t e : plan.experts) {
    const ExpertTensors expert = cut_expert(tensors.experts[static_cast<size_t>(e)], plan.ffn);
    gate_up.push_back(load.weight({expert.w1, expert.w3}, {0, config.hidden_size}, /*gated=*/true));
    down.push_back(load.weight({expert.w2}, ffn_slice_bounds(config, plan.ffn_slices)));
  }
  return {backend.group(std::move(gate_up)), backend.group(std::move(down))};
}

}  // namespace

int64_t shard_parameters(const ModelConfig& config, const ShardPlan& plan) {
  const int64_t group = config.num_heads / config.num_kv_heads;  // query heads of a KV head
  const int64_t attention = 2 * (group + 1) * plan.kv_heads.size() * config.head_dim * config.hidden_size;
  const int64_t experts = 3 * static_cast<int64_t>(plan.experts.size()) * plan.ffn.size() * config.hidden_size;
  const int64_t norms_and_router = (2 + config.num_experts) * config.hidden_size;
  return config.num_layers * (attention + experts + norms_and_router) + config.hidden_size +
         (config.vocab_size + plan.vocabulary.size()) * config.hidden_size;
}

int64_t shard_bytes(const Checkpoint& checkpoint, const ShardPlan& plan, std::optional<WeightFormat> format) {
  const auto bytes_of = [&](const MatrixSource& m) {
    return matrix_bytes(format.value_or(m.format), m.num_rows, m.num_columns);
  };
  const ModelConfig& config = checkpoint.config();
  const MatrixSource lm_head = checkpoint.output().slice_rows(plan.vocabulary.begin, plan.vocabulary.size());
  int64_t bytes = bytes_of(checkpoint.embedding()) + bytes_of(checkpoint.final_norm()) + bytes_of(lm_head);
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const AttentionSources a = cut_attention(checkpoint.attention(layer), config, plan);
    for (const MatrixSource& m : {a.norm, a.q, a.k, a.v, a.o}) bytes += bytes_of(m);
    const MoeTensors moe = checkpoint.moe(layer);
    bytes += bytes_of(moe.norm) + bytes_of(moe.gate);
    for (const int32_t e : plan.experts) {
      const ExpertTensors expert = cut_expert(moe.experts[static_cast<size_t>(e)], plan.ffn);
      for (const MatrixSource& m : {expert.w1, expert.w2, expert.w3}) bytes += bytes_of(m);
    }
  }
  return bytes;
}

WeightFormat common_matrix_format(const Checkpoint& checkpoint) {
  std::optional<WeightFormat> common;
  for (const TensorListing& tensor : checkpoint.tensors()) {
    if (!tensor.is_used || tensor.shape.size() < 2) continue;
    if (common && *common != tensor.format) return DType::kF32;
    common = tensor.format;
  }
  return common.value_or(DType::kF32);
}

ShardWeights load_shard_weights(const Checkpoint& checkpoint, const ShardPlan& plan, Backend& backend,
                                const LoadOptions& options) {
  const ModelConfig& config = checkpoint.config();
  Loader load(backend, options);
  ShardWeights weights;
  weights.embedding = load.table(checkpoint.embedding());
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const AttentionSources sources = cut_attention(checkpoint.attention(layer), config, plan);
    weights.attention.push_back(load_attention(sources, config, plan.kv_heads.size(), load));
    const MoeTensors moe = checkpoint.moe(layer);
    weights.moe.push_back(load_moe(moe, load));
    weights.experts.push_back(load_experts(moe, config, plan, load, backend));
  }
  weights.final_norm = load.vector(checkpoint.final_norm());
  weights.lm_head = load.weight(checkpoint.output().slice_rows(plan.vocabulary.begin, plan.vocabulary.size()));
  weights.bytes_read = load.bytes_read();
  return weights;
}

}  // namespace octet
