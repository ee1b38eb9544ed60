// Checkpoints of any shape with random weights: what benchmarks run where the real model is too large or not at hand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

struct CheckpointShape {
  int64_t hidden = 0;
  int64_t ffn = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab = 0;
  int64_t experts = 0;
  int64_t top_k = 0;
};

// A shape with a name of its own; kInvalidInput lists the names.
Result<CheckpointShape> find_checkpoint_shape(std::string_view name);
// "mixtral-1b-shape, …"
std::string checkpoint_shape_names();

struct MakeModelOptions {
  std::filesystem::path path;  // a directory that has no model yet; made where it is missing
  CheckpointShape shape;
  uint64_t seed = 1;
  int num_threads = 0;  // 0: num_available_cpus()
  // Called with the bytes written so far; anything but ok ends the work and removes the weights.
  std::function<Status(int64_t)> progress = [](int64_t) { return ok_status(); };
};

// Bytes of the weights.
int64_t checkpoint_bytes(const CheckpointShape& shape);

// Writes config.json and model.safetensors (BF16, Hugging Face's layout, experts one by one), no tokenizer. A matrix's
// elements are normal with variance 1 / columns, so that activations keep their size from layer to layer; the
// embedding's have variance 1, norms are 1. The bytes depend on shape and seed alone. kInvalidInput for a shape that
// cannot be and a directory that has a model; kFailed where the disk has no room.
Status make_model(const MakeModelOptions& options);

}  // namespace octet
