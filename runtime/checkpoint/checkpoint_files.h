// The weight files of a checkpoint folder, opened together: one table of tensors whatever files they lie in.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/checkpoint/safetensors.h"

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
  // Opens every weight file of the format and checks its header. What is wrong with tensors that nobody asks for
  // (listed but not there, in a shard that is not there, in two files) is no error.
  static Result<CheckpointFiles> open(const std::filesystem::path& folder, CheckpointFormat format);

  // Null fields when there is none of that name.
  TensorPlace find(std::string_view name) const;
  // Whether find(name) gives the one tensor that is meant: it is there, where the index says if the index knows it, and
  // in one file only if not. kInvalidInput names the file.
  Status check(std::string_view name) const;
  // Tensors that the index lists and no file has.
  int64_t num_absent() const;
  const std::vector<SafetensorsFile>& files() const { return files_; }
  // What a message about an absent tensor points at: the index, or the only file.
  const std::filesystem::path& source() const { return source_; }

 private:
  Status open_indexed(const std::filesystem::path& folder);
  Status add(const std::filesystem::path& path);
  // Once all files are open: `files_` no longer moves.
  void index_tensors();

  std::filesystem::path source_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::string, std::less<>> shards_;           // what the index says, by tensor
  std::unordered_map<std::string_view, TensorPlace> places_;         // points into files_
  std::unordered_map<std::string_view, TensorPlace> second_places_;  // of names in two files that the index lacks
};

}  // namespace octet
