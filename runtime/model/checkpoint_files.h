// The weight files of a checkpoint folder, opened together: one table of tensors whatever files they lie in.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/model/safetensors.h"

namespace octet {

enum class CheckpointFormat {
  kHuggingFace,  // config.json; model.safetensors, or model.safetensors.index.json and shards
  kNative,       // params.json; consolidated*.safetensors
};

// Which format the folder holds: the first whose configuration and weights are both there. kInvalidInput says what is
// missing, or that the weights are pickle files (which can run code and are never read).
Result<CheckpointFormat> detect_format(const std::filesystem::path& folder);

struct TensorPlace {
  const SafetensorsFile* file = nullptr;
  const StoredTensor* tensor = nullptr;
};

class CheckpointFiles {
 public:
  // Opens and checks every weight file of the format. A tensor in two files, one that is not in the shard that the
  // index says, and a missing shard are refused.
  static Result<CheckpointFiles> open(const std::filesystem::path& folder, CheckpointFormat format);

  // Null fields when there is none of that name.
  TensorPlace find(std::string_view name) const;
  const std::vector<SafetensorsFile>& files() const { return files_; }
  // What a message about an absent tensor points at: the index, or the only file.
  const std::filesystem::path& source() const { return source_; }

 private:
  Status open_indexed(const std::filesystem::path& folder);
  Status add(const std::filesystem::path& path);
  // Once all files are open: `files_` no longer moves.
  Status index_tensors();

  std::filesystem::path source_;
  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string_view, TensorPlace> places_;  // points into files_
};

}  // namespace octet
