#include "runtime/checkpoint/checkpoint_files.h"

#include <algorithm>
#include <map>
#include <set>

#include "runtime/base/foreign_file.h"
#include "runtime/base/quote.h"
#include "runtime/checkpoint/safetensors_index.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxShards = 4096;
constexpr size_t kMaxIndexBytes = size_t{16} << 20;

// Whether something of that name is there at all; a link that leads nowhere and a folder count, so that opening it
// reports what is wrong with it.
bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() != fs::file_type::not_found;
}

// Names in the folder, sorted; kInvalidInput when it cannot be listed.
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

bool is_native_shard(const std::string& name) {
  return name.starts_with("consolidated") && name.ends_with(".safetensors");
}

bool is_hf_shard(const std::string& name) { return name.starts_with("model-") && name.ends_with(".safetensors"); }

bool is_pickle(const std::string& name) {
  const bool weights =
      name.starts_with("pytorch_model") || name.starts_with("consolidated") || name.starts_with("model");
  return weights && (name.ends_with(".bin") || name.ends_with(".pth") || name.ends_with(".pt"));
}

fs::path index_path(const fs::path& folder, CheckpointFormat format) {
  const bool native = format == CheckpointFormat::kNative;
  return folder / (native ? "consolidated.safetensors.index.json" : "model.safetensors.index.json");
}

}  // namespace

Result<CheckpointFormat> detect_format(const fs::path& folder) {
  if (std::error_code error; fs::is_regular_file(folder, error)) {
    const std::string what = describe_foreign_file(folder, FileContent::kBinary);
    return invalid_input("{}: a file{}; a model is the folder of config.json and *.safetensors", folder.string(),
                         what.empty() ? "" : ", " + what);
  }
  OCTET_ASSIGN_OR_RETURN(const std::vector<std::string> names, list_folder(folder));
  const bool hf_weights =
      is_there(folder / "model.safetensors") || is_there(index_path(folder, CheckpointFormat::kHuggingFace));
  const bool native_weights =
      std::ranges::any_of(names, is_native_shard) || is_there(index_path(folder, CheckpointFormat::kNative));
  const bool hf_config = is_there(folder / "config.json");
  const bool native_config = is_there(folder / "params.json");
  if (hf_config && hf_weights) return CheckpointFormat::kHuggingFace;
  if (native_config && native_weights) return CheckpointFormat::kNative;
  if (hf_weights)
    return invalid_input("{}: missing, but model.safetensors is there", (folder / "config.json").string());
  if (native_weights) {
    return invalid_input("{}: missing, but consolidated weights are there", (folder / "params.json").string());
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
                         index_path(folder, CheckpointFormat::kHuggingFace).string());
  }
  if (hf_config || native_config) {
    return invalid_input(
        "{}: no weights: neither model.safetensors, model.safetensors.index.json nor "
        "consolidated*.safetensors is there",
        folder.string());
  }
  return invalid_input("{}: not a checkpoint: neither config.json nor params.json is there", folder.string());
}

Result<CheckpointFiles> CheckpointFiles::open(const fs::path& folder, CheckpointFormat format) {
  const bool native = format == CheckpointFormat::kNative;
  const fs::path single = folder / (native ? "consolidated.safetensors" : "model.safetensors");
  const fs::path index = index_path(folder, format);
  CheckpointFiles checkpoint;
  if (is_there(single)) {
    checkpoint.source_ = single;
    OCTET_RETURN_IF_ERROR(checkpoint.add(single));
  } else if (is_there(index)) {
    checkpoint.source_ = index;
    OCTET_RETURN_IF_ERROR(checkpoint.open_indexed(folder));
  } else {
    checkpoint.source_ = folder;
    OCTET_ASSIGN_OR_RETURN(const std::vector<std::string> names, list_folder(folder));
    for (const std::string& name : names) {
      if (is_native_shard(name)) OCTET_RETURN_IF_ERROR(checkpoint.add(folder / name));
    }
  }
  checkpoint.index_tensors();
  return checkpoint;
}

Status CheckpointFiles::open_indexed(const fs::path& folder) {
  OCTET_ASSIGN_OR_RETURN(const MappedFile text, MappedFile::open(source_));
  if (text.bytes().size() > kMaxIndexBytes) {
    return invalid_input("{}: {} bytes, over the limit of {}", source_.string(), text.bytes().size(), kMaxIndexBytes);
  }
  auto shards = parse_safetensors_index(text.text());
  if (!shards.ok()) return refuse_file(source_, text.text(), FileContent::kJson, shards.status());
  std::set<std::string> names;
  for (const auto& [tensor, shard] : *shards) names.insert(shard);
  if (names.size() > kMaxShards) {
    return invalid_input("{}: {} shards, over the limit of {}", source_.string(), names.size(), kMaxShards);
  }
  // A shard that is not there is missed only if it holds what a layer uses.
  for (const std::string& name : names) {
    if (is_there(folder / name)) OCTET_RETURN_IF_ERROR(add(folder / name));
  }
  shards_ = {std::make_move_iterator(shards->begin()), std::make_move_iterator(shards->end())};
  return ok_status();
}

Status CheckpointFiles::add(const fs::path& path) {
  OCTET_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  files_.push_back(std::move(file));
  return ok_status();
}

void CheckpointFiles::index_tensors() {
  for (const SafetensorsFile& file : files_) {
    for (const StoredTensor& tensor : file.tensors()) {
      const TensorPlace place{&file, &tensor};
      const auto [earlier, added] = places_.emplace(tensor.name, place);
      if (added) continue;
      const auto shard = shards_.find(tensor.name);
      if (shard == shards_.end()) {
        second_places_.emplace(tensor.name, place);
      } else if (file.path().filename() == shard->second) {
        earlier->second = place;
      }
    }
  }
}

TensorPlace CheckpointFiles::find(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? TensorPlace() : found->second;
}

Status CheckpointFiles::check(std::string_view name) const {
  const TensorPlace place = find(name);
  if (const auto second = second_places_.find(name); second != second_places_.end()) {
    return invalid_input("{}: tensor {} is also in {}", second->second.file->path().string(), quote(name),
                         place.file->path().filename().string());
  }
  const auto shard = shards_.find(name);
  if (shard == shards_.end()) {
    if (place.tensor != nullptr) return ok_status();
    return invalid_input("{}: tensor {} is missing", source_.string(), quote(name));
  }
  const fs::path path = source_.parent_path() / shard->second;
  if (place.tensor != nullptr) {
    if (place.file->path().filename() == shard->second) return ok_status();
    return invalid_input("{}: tensor {} is in {}, not in {}", source_.string(), quote(name),
                         place.file->path().filename().string(), quote(shard->second));
  }
  if (!is_there(path)) {
    return invalid_input("{}: No such file or directory; {} says that it holds tensor {}", path.string(),
                         source_.filename().string(), quote(name));
  }
  return invalid_input("{}: tensor {} is missing; {} lists it there", path.string(), quote(name),
                       source_.filename().string());
}

int64_t CheckpointFiles::num_absent() const {
  return std::ranges::count_if(shards_, [this](const auto& entry) { return !places_.contains(entry.first); });
}

}  // namespace octet
