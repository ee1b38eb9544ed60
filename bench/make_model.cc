#include "bench/make_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "runtime/base/float16.h"
#include "runtime/base/output_file.h"
#include "runtime/base/read_file.h"
#include "runtime/base/thread_pool.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/checkpoint/safetensors_writer.h"

namespace octet {
namespace {

constexpr std::array<std::pair<std::string_view, CheckpointShape>, 4> kShapes{{
    {"tiny", {64, 96, 2, 4, 2, 16, 256, 8, 2}},
    {"mixtral-1b-shape", {1024, 3584, 16, 16, 8, 64, 32000, 8, 2}},
    {"mixtral-layers4", {4096, 14336, 4, 32, 8, 128, 32000, 8, 2}},
    {"mixtral-8x7b", {4096, 14336, 32, 32, 8, 128, 32000, 8, 2}},
}};

// Elements that one task makes, and that are in memory at once.
constexpr int64_t kBlock = int64_t{1} << 16;
constexpr int64_t kPiece = int64_t{1} << 24;

struct PlannedTensor {
  TensorDeclaration declaration;
  double deviation = 0;  // 0: every element is 1
};

// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014), by its counter.
uint64_t random_bits(uint64_t key, uint64_t counter) {
  uint64_t z = key + (counter + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

// Near enough to a standard normal variable: the sum of four uniform ones, each of 16 bits.
float random_normal(uint64_t bits) {
  constexpr float kDeviation = 37837.2F;  // of the sum: sqrt(4 · (2^32 - 1) / 12)
  const auto sum = static_cast<int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  return static_cast<float>(sum - 2 * 65535) * (1 / kDeviation);
}

std::vector<PlannedTensor> plan_tensors(const CheckpointShape& s) {
  std::vector<PlannedTensor> tensors;
  const auto norm = [&](const std::string& name) { tensors.push_back({{name, DType::kBF16, {s.hidden}}, 0}); };
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    tensors.push_back({{name, DType::kBF16, {rows, columns}}, 1 / std::sqrt(static_cast<double>(columns))});
  };
  tensors.push_back({{"model.embed_tokens.weight", DType::kBF16, {s.vocab, s.hidden}}, 1});
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    norm(prefix + "input_layernorm.weight");
    matrix(prefix + "self_attn.q_proj.weight", s.heads * s.head_dim, s.hidden);
    matrix(prefix + "self_attn.k_proj.weight", s.kv_heads * s.head_dim, s.hidden);
    matrix(prefix + "self_attn.v_proj.weight", s.kv_heads * s.head_dim, s.hidden);
    matrix(prefix + "self_attn.o_proj.weight", s.hidden, s.heads * s.head_dim);
    norm(prefix + "post_attention_layernorm.weight");
    matrix(prefix + "block_sparse_moe.gate.weight", s.experts, s.hidden);
    for (int64_t expert = 0; expert < s.experts; ++expert) {
      const std::string name = prefix + "block_sparse_moe.experts." + std::to_string(expert);
      matrix(name + ".w1.weight", s.ffn, s.hidden);
      matrix(name + ".w2.weight", s.hidden, s.ffn);
      matrix(name + ".w3.weight", s.ffn, s.hidden);
    }
  }
  norm("model.norm.weight");
  matrix("lm_head.weight", s.vocab, s.hidden);
  return tensors;
}

int64_t num_elements(const PlannedTensor& tensor) {
  int64_t count = 1;
  for (const int64_t extent : tensor.declaration.shape) count *= extent;
  return count;
}

std::string config_text(const CheckpointShape& s) {
  const nlohmann::ordered_json config{{"architectures", {"MixtralForCausalLM"}},
                                      {"model_type", "mixtral"},
                                      {"hidden_act", "silu"},
                                      {"hidden_size", s.hidden},
                                      {"intermediate_size", s.ffn},
                                      {"num_hidden_layers", s.layers},
                                      {"num_attention_heads", s.heads},
                                      {"num_key_value_heads", s.kv_heads},
                                      {"head_dim", s.head_dim},
                                      {"vocab_size", s.vocab},
                                      {"num_local_experts", s.experts},
                                      {"num_experts_per_tok", s.top_k},
                                      {"max_position_embeddings", 32768},
                                      {"rope_theta", 1e6},
                                      {"rms_norm_eps", 1e-5},
                                      {"bos_token_id", 1},
                                      {"eos_token_id", 2},
                                      {"tie_word_embeddings", false},
                                      {"torch_dtype", "bfloat16"}};
  return config.dump(2) + "\n";
}

// Elements [begin, begin + elements.size()) of a tensor.
void fill(const PlannedTensor& tensor, uint64_t key, int64_t begin, std::span<uint16_t> elements, ThreadPool& pool) {
  const auto size = std::ssize(elements);
  const auto deviation = static_cast<float>(tensor.deviation);
  pool.parallel_for((size + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t end = std::min(size, (block + 1) * kBlock);
    for (int64_t i = block * kBlock; i < end; ++i) {
      const float value =
          deviation == 0 ? 1.0F : deviation * random_normal(random_bits(key, static_cast<uint64_t>(begin + i)));
      elements[static_cast<size_t>(i)] = f32_to_bf16(value);
    }
  });
}

Status write_weights(const MakeModelOptions& options) {
  const std::vector<PlannedTensor> tensors = plan_tensors(options.shape);
  std::vector<TensorDeclaration> declarations;
  for (const PlannedTensor& tensor : tensors) declarations.push_back(tensor.declaration);
  OCTET_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                         SafetensorsWriter::create(options.path / "model.safetensors", declarations));
  ThreadPool pool(options.num_threads);
  std::vector<uint16_t> buffer;
  int64_t written = 0;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const uint64_t key = random_bits(options.seed, t);
    const int64_t count = num_elements(tensors[t]);
    for (int64_t begin = 0; begin < count; begin += kPiece) {
      buffer.resize(static_cast<size_t>(std::min(kPiece, count - begin)));
      fill(tensors[t], key, begin, buffer, pool);
      OCTET_RETURN_IF_ERROR(writer.append(std::as_bytes(std::span(buffer))));
      written += 2 * std::ssize(buffer);
      OCTET_RETURN_IF_ERROR(options.progress(written));
    }
  }
  return writer.finish();
}

Status check_room(const std::filesystem::path& path, int64_t bytes) {
  std::error_code error;
  const auto space = std::filesystem::space(path, error);
  if (error) return failed("{}: {}", path.string(), error.message());
  constexpr int64_t kHeaderRoom = 1 << 20;
  if (space.available >= static_cast<uintmax_t>(bytes + kHeaderRoom)) return ok_status();
  return failed("{}: the model takes {} bytes, and the disk has room for {}", path.string(), bytes, space.available);
}

}  // namespace

Result<CheckpointShape> find_checkpoint_shape(std::string_view name) {
  for (const auto& [known, shape] : kShapes) {
    if (known == name) return shape;
  }
  return invalid_input("no shape is called {}; there are {}", name, checkpoint_shape_names());
}

std::string checkpoint_shape_names() {
  std::string names;
  for (const auto& [name, shape] : kShapes) names.append(names.empty() ? "" : ", ").append(name);
  return names;
}

int64_t checkpoint_bytes(const CheckpointShape& shape) {
  int64_t elements = 0;
  for (const PlannedTensor& tensor : plan_tensors(shape)) elements += num_elements(tensor);
  return 2 * elements;
}

Status make_model(const MakeModelOptions& options) {
  const std::string config = config_text(options.shape);
  OCTET_RETURN_IF_ERROR(parse_hf_config(config).status());
  std::error_code error;
  std::filesystem::create_directories(options.path, error);
  if (error) return failed("{}: {}", options.path.string(), error.message());
  for (const char* file : {"config.json", "params.json", "model.safetensors"}) {
    if (file_exists(options.path / file)) {
      return invalid_input("{}: there is a {} already", options.path.string(), file);
    }
  }
  OCTET_RETURN_IF_ERROR(check_room(options.path, checkpoint_bytes(options.shape)));
  OCTET_RETURN_IF_ERROR(write_weights(options));
  return write_whole_file(options.path / "config.json", config);
}

}  // namespace octet
