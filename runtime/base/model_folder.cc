#include "runtime/base/model_folder.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "runtime/base/quote.h"
#include "runtime/base/read_file.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCachePrefix = "models--";
constexpr int64_t kMaxRefBytes = 4096;

// The name of a folder, also of one that is written with a slash at its end or as "..".
std::string folder_name(const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::canonical(folder, error);
  return error ? folder.filename().string() : whole.filename().string();
}

bool is_cache_folder(const fs::path& path) {
  std::error_code error;
  return folder_name(path).starts_with(kCachePrefix) && fs::is_directory(path / "snapshots", error);
}

std::vector<fs::path> subfolders(const fs::path& folder) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code unreadable;
    if (entry->is_directory(unreadable)) folders.push_back(entry->path());
  }
  std::ranges::sort(folders);
  return folders;
}

bool has_config(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.json", error) || fs::exists(folder / "params.json", error);
}

// Whether a folder holds anything of a model, so that what is wrong with it is to be said of it.
bool has_model_files(const fs::path& folder) {
  if (has_config(folder)) return true;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    for (const char* ending : {".safetensors", ".safetensors.index.json", ".bin", ".pth", ".pt", ".gguf"}) {
      if (name.ends_with(ending)) return true;
    }
    if (name == "adapter_config.json") return true;
  }
  return false;
}

std::string names_of(const std::vector<fs::path>& folders) {
  std::string names;
  for (const fs::path& folder : folders) names += (names.empty() ? "" : ", ") + folder.filename().string();
  return names;
}

// The snapshot that refs/main names, else the only one.
Result<fs::path> resolve_cache_folder(const fs::path& path) {
  const fs::path ref = path / "refs" / "main";
  std::error_code error;
  if (fs::exists(ref, error)) {
    OCTET_ASSIGN_OR_RETURN(std::string revision, read_text_file(ref, kMaxRefBytes));
    revision.erase(
        std::find_if_not(revision.rbegin(), revision.rend(), [](char c) { return c == '\n' || c == '\r'; }).base(),
        revision.end());
    const bool plain = !revision.empty() && revision != "." && revision != ".." &&
                       revision.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
    if (!plain) return invalid_input("{}: {} is not the name of a snapshot", ref.string(), quote(revision));
    const fs::path snapshot = path / "snapshots" / revision;
    if (fs::is_directory(snapshot, error)) return snapshot;
    return invalid_input("{}: names snapshot {}, which is not there; fetch the model again", ref.string(),
                         quote(revision));
  }
  const std::vector<fs::path> snapshots = subfolders(path / "snapshots");
  if (snapshots.size() == 1) return snapshots.front();
  return invalid_input("{}: no refs/main says which of its {} snapshots is meant; name the folder of one",
                       path.string(), snapshots.size());
}

// "ORGANISATION/NAME" of …/models--ORGANISATION--NAME/snapshots/REVISION; empty: another path.
std::string name_in_cache(const fs::path& path) {
  const std::string cache = path.parent_path().parent_path().filename().string();
  if (path.parent_path().filename() != "snapshots" || !cache.starts_with(kCachePrefix)) return "";
  std::string name = cache.substr(kCachePrefix.size());
  if (const size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
  return name;
}

// The number behind "tokenizer.model.v"; nullopt: another name.
std::optional<int> tokenizer_version(std::string_view name) {
  constexpr std::string_view kPrefix = "tokenizer.model.v";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  int version = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), version);
  if (error != std::errc() || end != name.data() + name.size() || version < 0) return std::nullopt;
  return version;
}

}  // namespace

Result<fs::path> resolve_model_folder(const fs::path& path) {
  if (is_cache_folder(path)) return resolve_cache_folder(path);
  std::error_code error;
  if (!fs::is_directory(path, error) || has_model_files(path)) return path;
  std::vector<fs::path> models;
  for (const fs::path& folder : subfolders(path)) {
    if (is_cache_folder(folder) || has_config(folder)) models.push_back(folder);
  }
  if (models.empty()) return path;
  if (models.size() > 1) {
    return invalid_input("{}: holds {} models ({}); name the folder of one", path.string(), models.size(),
                         quote(names_of(models)));
  }
  return is_cache_folder(models.front()) ? resolve_cache_folder(models.front()) : models.front();
}

std::string model_name(const fs::path& folder) {
  std::error_code error;
  // A snapshot may be a link, and a path may end in "." or be relative to a snapshot.
  const fs::path as_named = (fs::absolute(folder, error) / "").lexically_normal().parent_path();
  const fs::path whole = fs::canonical(folder, error);
  for (const fs::path& path : {as_named, whole}) {
    if (const std::string name = name_in_cache(path); !name.empty()) return name;
  }
  return (error ? as_named : whole).filename().string();
}

fs::path find_tokenizer_file(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(folder / "tokenizer.model", error))) return folder / "tokenizer.model";
  fs::path best;
  int highest = -1;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const auto version = tokenizer_version(entry->path().filename().string());
    if (!version || *version <= highest) continue;
    highest = *version;
    best = entry->path();
  }
  return best;
}

}  // namespace octet
