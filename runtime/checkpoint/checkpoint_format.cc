#include "runtime/checkpoint/checkpoint_format.h"

#include <algorithm>

#include "runtime/base/foreign_file.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr FormatFiles kHuggingFaceFiles = {.config = "config.json",
                                           .weights = "model.safetensors",
                                           .index = "model.safetensors.index.json",
                                           .shard_prefix = ""};
constexpr FormatFiles kNativeFiles = {.config = "params.json",
                                      .weights = "consolidated.safetensors",
                                      .index = "consolidated.safetensors.index.json",
                                      .shard_prefix = "consolidated"};

bool is_hf_shard(const std::string& name) { return name.starts_with("model-") && name.ends_with(".safetensors"); }

bool is_pickle(const std::string& name) {
  const bool weights =
      name.starts_with("pytorch_model") || name.starts_with("consolidated") || name.starts_with("model");
  return weights && (name.ends_with(".bin") || name.ends_with(".pth") || name.ends_with(".pt"));
}

}  // namespace

const FormatFiles& files_of(CheckpointFormat format) {
  return format == CheckpointFormat::kNative ? kNativeFiles : kHuggingFaceFiles;
}

bool is_shard(const FormatFiles& files, std::string_view name) {
  return !files.shard_prefix.empty() && name.starts_with(files.shard_prefix) && name.ends_with(".safetensors");
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() != fs::file_type::not_found;
}

Result<std::vector<std::string>> list_folder(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return invalid_input("{}: {}", folder.string(), error.message());
  std::ranges::sort(names);
  return names;
}

Result<CheckpointFormat> detect_format(const fs::path& folder) {
  if (std::error_code error; fs::is_regular_file(folder, error)) {
    const std::string what = describe_foreign_file(folder, FileContent::kBinary);
    return invalid_input("{}: a file{}; a model is the folder of config.json and *.safetensors", folder.string(),
                         what.empty() ? "" : ", " + what);
  }
  OCTET_ASSIGN_OR_RETURN(const std::vector<std::string> names, list_folder(folder));
  const bool hf_weights = is_there(folder / kHuggingFaceFiles.weights) || is_there(folder / kHuggingFaceFiles.index);
  const bool native_weights =
      std::ranges::any_of(names, [](const std::string& name) { return is_shard(kNativeFiles, name); }) ||
      is_there(folder / kNativeFiles.index);
  const bool hf_config = is_there(folder / kHuggingFaceFiles.config);
  const bool native_config = is_there(folder / kNativeFiles.config);
  if (hf_config && hf_weights) return CheckpointFormat::kHuggingFace;
  if (native_config && native_weights) return CheckpointFormat::kNative;
  if (hf_weights)
    return invalid_input("{}: missing, but model.safetensors is there", (folder / kHuggingFaceFiles.config).string());
  if (native_weights) {
    return invalid_input("{}: missing, but consolidated weights are there", (folder / kNativeFiles.config).string());
  }
  if (const auto pickle = std::ranges::find_if(names, is_pickle); pickle != names.end()) {
    return invalid_input("{}: pickle files are not read (they can run code); convert the checkpoint to safetensors",
                         (folder / *pickle).string());
  }
  if (is_there(folder / "adapter_config.json")) {
    return invalid_input(
        "{}: LoRA weights (adapter_config.json) are no model of their own; merge them into their base "
        "model first (peft: merge_and_unload, then save_pretrained)",
        folder.string());
  }
  if (const auto gguf = std::ranges::find_if(names, [](const std::string& name) { return name.ends_with(".gguf"); });
      gguf != names.end()) {
    return invalid_input("{}: a GGUF file; a checkpoint of safetensors files is needed", (folder / *gguf).string());
  }
  if (std::ranges::any_of(names, is_hf_shard)) {
    return invalid_input("{}: missing, but shards of weights are there; fetch it, too",
                         (folder / kHuggingFaceFiles.index).string());
  }
  if (hf_config || native_config) {
    return invalid_input(
        "{}: no weights: neither model.safetensors, model.safetensors.index.json nor "
        "consolidated*.safetensors is there",
        folder.string());
  }
  return invalid_input("{}: not a checkpoint: neither config.json nor params.json is there", folder.string());
}

}  // namespace octet
