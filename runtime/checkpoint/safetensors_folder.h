// SafetensorsFolder: a folder of safetensors files and the configuration beside them, opened together: one table of
// tensors whatever files they lie in.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint_format.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/tensor_source.h"

namespace octet {

class SafetensorsFolder final : public TensorSource {
 public:
  // Opens every weight file of the format and checks its header. What is wrong with tensors that nobody asks for
  // (listed but not there, in a shard that is not there, in two files) is no error.
  static Result<std::unique_ptr<TensorSource>> open(const std::filesystem::path& folder, CheckpointFormat format);

  const ModelConfig& config() const override { return config_; }
  const WeightMap& weight_map() const override { return *map_; }
  const std::vector<std::string>& remarks() const override { return remarks_; }
  std::span<const TensorPlace> tensors() const override { return tensors_; }
  TensorPlace find(std::string_view name) const override;
  // A tensor must be where the index says if the index knows it, and in one file only if not.
  Status check(std::string_view name) const override;
  // Those that the index lists.
  int64_t num_absent() const override;
  int64_t num_bytes() const override;
  // The index, or the only file, or the folder.
  const std::filesystem::path& path() const override { return path_; }

 private:
  SafetensorsFolder() = default;
  Status open_files(const std::filesystem::path& folder, const FormatFiles& names);
  Status open_indexed(const std::filesystem::path& folder);
  Status add(const std::filesystem::path& path);
  // Once all files are open: `files_` no longer moves.
  void index_tensors();
  const WeightMap& choose_map(CheckpointFormat format) const;

  ModelConfig config_;
  std::vector<std::string> remarks_;
  const WeightMap* map_ = nullptr;
  std::filesystem::path path_;
  std::vector<SafetensorsFile> files_;
  std::vector<TensorPlace> tensors_;                                 // points into files_
  std::map<std::string, std::string, std::less<>> shards_;           // what the index says, by tensor
  std::unordered_map<std::string_view, TensorPlace> places_;         // points into files_
  std::unordered_map<std::string_view, TensorPlace> second_places_;  // of names in two files that the index lacks
};

}  // namespace octet
