#include "runtime/checkpoint/safetensors_folder.h"

#include <algorithm>
#include <map>
#include <set>

#include "runtime/base/foreign_file.h"
#include "runtime/base/quote.h"
#include "runtime/checkpoint/config_file.h"
#include "runtime/checkpoint/safetensors_index.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxShards = 4096;
constexpr size_t kMaxIndexBytes = size_t{16} << 20;

}  // namespace

Result<std::unique_ptr<TensorSource>> SafetensorsFolder::open(const fs::path& folder, CheckpointFormat format) {
  auto source = std::unique_ptr<SafetensorsFolder>(new SafetensorsFolder);
  OCTET_ASSIGN_OR_RETURN(source->config_, read_model_config(folder, format, source->remarks_));
  OCTET_RETURN_IF_ERROR(source->open_files(folder, files_of(format)));
  source->index_tensors();
  source->map_ = &source->choose_map(format);
  return std::unique_ptr<TensorSource>(std::move(source));
}

Status SafetensorsFolder::open_files(const fs::path& folder, const FormatFiles& names) {
  if (path_ = folder / names.weights; is_there(path_)) return add(path_);
  if (path_ = folder / names.index; is_there(path_)) return open_indexed(folder);
  path_ = folder;
  OCTET_ASSIGN_OR_RETURN(const std::vector<std::string> files, list_folder(folder));
  for (const std::string& name : files) {
    if (is_shard(names, name)) OCTET_RETURN_IF_ERROR(add(folder / name));
  }
  return ok_status();
}

const WeightMap& SafetensorsFolder::choose_map(CheckpointFormat format) const {
  if (format == CheckpointFormat::kNative) return kNativeMap;
  const MatrixPlace fused = place_of(kHfFusedMap, config_, {.role = MatrixRole::kW1});
  return find(fused.tensor).tensor != nullptr ? kHfFusedMap : kHfMap;
}

Status SafetensorsFolder::open_indexed(const fs::path& folder) {
  OCTET_ASSIGN_OR_RETURN(const MappedFile text, MappedFile::open(path_));
  if (text.bytes().size() > kMaxIndexBytes) {
    return invalid_input("{}: {} bytes, over the limit of {}", path_.string(), text.bytes().size(), kMaxIndexBytes);
  }
  auto shards = parse_safetensors_index(text.text());
  if (!shards.ok()) return refuse_file(path_, text.text(), FileContent::kJson, shards.status());
  std::set<std::string> names;
  for (const auto& [tensor, shard] : *shards) names.insert(shard);
  if (names.size() > kMaxShards) {
    return invalid_input("{}: {} shards, over the limit of {}", path_.string(), names.size(), kMaxShards);
  }
  // A shard that is not there is missed only if it holds what a layer uses.
  for (const std::string& name : names) {
    if (is_there(folder / name)) OCTET_RETURN_IF_ERROR(add(folder / name));
  }
  shards_ = {std::make_move_iterator(shards->begin()), std::make_move_iterator(shards->end())};
  return ok_status();
}

Status SafetensorsFolder::add(const fs::path& path) {
  OCTET_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  files_.push_back(std::move(file));
  return ok_status();
}

void SafetensorsFolder::index_tensors() {
  for (const SafetensorsFile& file : files_) {
    for (const StoredTensor& tensor : file.tensors()) {
      const TensorPlace place{&tensor, &file.path(), file.data(tensor)};
      tensors_.push_back(place);
      const auto [earlier, added] = places_.emplace(tensor.name, place);
      if (added) continue;
      const auto shard = shards_.find(tensor.name);
      if (shard == shards_.end()) {
        second_places_.emplace(tensor.name, place);
      } else if (place.file->filename() == shard->second) {
        earlier->second = place;
      }
    }
  }
}

TensorPlace SafetensorsFolder::find(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? TensorPlace() : found->second;
}

Status SafetensorsFolder::check(std::string_view name) const {
  const TensorPlace place = find(name);
  if (const auto second = second_places_.find(name); second != second_places_.end()) {
    return invalid_input("{}: tensor {} is also in {}", second->second.file->string(), quote(name),
                         place.file->filename().string());
  }
  const auto shard = shards_.find(name);
  if (shard == shards_.end()) {
    if (place.tensor != nullptr) return ok_status();
    return invalid_input("{}: tensor {} is missing", path_.string(), quote(name));
  }
  const fs::path path = path_.parent_path() / shard->second;
  if (place.tensor != nullptr) {
    if (place.file->filename() == shard->second) return ok_status();
    return invalid_input("{}: tensor {} is in {}, not in {}", path_.string(), quote(name),
                         place.file->filename().string(), quote(shard->second));
  }
  if (!is_there(path)) {
    return invalid_input("{}: No such file or directory; {} says that it holds tensor {}", path.string(),
                         path_.filename().string(), quote(name));
  }
  return invalid_input("{}: tensor {} is missing; {} lists it there", path.string(), quote(name),
                       path_.filename().string());
}

int64_t SafetensorsFolder::num_bytes() const {
  int64_t total = 0;
  for (const SafetensorsFile& file : files_) total += file.num_bytes();
  return total;
}

int64_t SafetensorsFolder::num_absent() const {
  return std::ranges::count_if(shards_, [this](const auto& entry) { return !places_.contains(entry.first); });
}

}  // namespace octet
