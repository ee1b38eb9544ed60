// The layouts of a checkpoint's folder, and which of them a folder has.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

enum class CheckpointFormat {
  kHuggingFace,  // config.json; model.safetensors, or model.safetensors.index.json and shards
  kNative,       // params.json; consolidated*.safetensors
};

// Which format the folder holds: the first whose configuration and weights are both there. kInvalidInput says what is
// missing, or that the weights are pickle files (which can run code and are never read).
Result<CheckpointFormat> detect_format(const std::filesystem::path& folder);

// The names of a format's files.
struct FormatFiles {
  std::string_view config;
  std::string_view weights;       // all in one
  std::string_view index;         // of shards
  std::string_view shard_prefix;  // of shards that need no index; empty: they do
};

const FormatFiles& files_of(CheckpointFormat format);
bool is_shard(const FormatFiles& files, std::string_view name);

// Whether something of that name is there at all; a link that leads nowhere and a folder count, so that opening it
// reports what is wrong with it.
bool is_there(const std::filesystem::path& path);
// Names in the folder, sorted; kInvalidInput when it cannot be listed.
Result<std::vector<std::string>> list_folder(const std::filesystem::path& folder);

}  // namespace octet
