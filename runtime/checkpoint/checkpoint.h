// A Mixtral checkpoint on disk, in any of the layouts that people have: Hugging Face (single file or shards with an
// index; per-expert or fused expert tensors; tied embeddings) and Mistral-native (params.json,
// consolidated*.safetensors). Opening it validates everything that can be known without reading weights: every header,
// and every tensor's presence, dtype and shape against the configuration. The files are mapped, not read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/weight.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/model_config.h"
#include "runtime/checkpoint/sampling_params.h"
#include "runtime/checkpoint/weight_map.h"

namespace octet {

// Sampling defaults from generation_config.json; absent values are the neutral ones. No seed and no bias among them.
using GenerationDefaults = SamplingParams;

struct AttentionTensors {
  MatrixSource norm;        // [1, hidden]
  MatrixSource q, k, v, o;  // q, k: rows in half pairs, whatever the file has
};

struct ExpertTensors {
  MatrixSource w1, w3;  // [ffn, hidden]
  MatrixSource w2;      // [hidden, ffn]
};

struct MoeTensors {
  MatrixSource norm;  // [1, hidden]
  MatrixSource gate;  // [num_experts, hidden]
  std::vector<ExpertTensors> experts;
};

// One tensor as the file lists it, for `inspect`.
struct TensorListing {
  std::string name;
  WeightFormat format;     // of a tensor that is used
  std::string dtype_text;  // as the file writes it
  bool is_used = true;     // by a layer
  std::vector<int64_t> shape;
  std::string file;
};

// The configuration of the checkpoint in a folder (resolve_model_folder is applied); its weights need not be there.
Result<ModelConfig> read_model_config(const std::filesystem::path& folder);

struct CheckpointOptions {
  // Where sampling defaults and end tokens come from: a file instead of the folder's generation_config.json, or "none".
  std::string generation_config = {};
};

class Checkpoint {
 public:
  // `path` is a directory that holds a checkpoint or stands for one (resolve_model_folder). Errors are kInvalidInput:
  // one line with the path and the reason.
  static Result<Checkpoint> open(const std::filesystem::path& path, const CheckpointOptions& options = {});
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::filesystem::path& path() const;  // the folder of the files
  const ModelConfig& config() const;
  const GenerationDefaults& generation_defaults() const;
  // A line for each thing that was left out or passed over.
  const std::vector<std::string>& remarks() const;
  std::vector<TensorListing> tensors() const;
  int64_t file_bytes() const;  // of all weight files

  // Views into the mapped files, valid while the checkpoint lives.
  MatrixSource matrix(const MatrixId& id) const;
  MatrixSource embedding() const;   // [vocab, hidden]
  MatrixSource final_norm() const;  // [1, hidden]
  MatrixSource output() const;      // [vocab, hidden]; the embedding where tied
  AttentionTensors attention(int64_t layer) const;
  MoeTensors moe(int64_t layer) const;

  // Tells the system that the mapped bytes of a matrix are not needed any more (they leave resident memory; reading
  // them again works and costs the read).
  static void drop_pages(const MatrixSource& matrix);

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
