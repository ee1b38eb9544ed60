#include "launcher/fingerprint.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string_view>

#include "runtime/base/hash.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

// The header of a safetensors file and the size of the whole.
uint64_t hash_safetensors(const fs::path& path, uint64_t before) {
  std::ifstream file(path, std::ios::binary);
  uint64_t header_size = 0;
  file.read(reinterpret_cast<char*>(&header_size), sizeof(header_size));
  const uint64_t file_size = fs::file_size(path);
  std::string header(std::min(header_size, file_size), '\0');
  file.read(header.data(), static_cast<std::streamsize>(header.size()));
  return hash_text(fmt::format("{} {} ", path.filename().string(), file_size), hash_text(header, before));
}

// Configuration, tokenizers and templates, whichever of them is read.
bool describes_model(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".json") || name.ends_with(".jinja") || name.find(".model") != std::string::npos;
}

// Flags that ranks may have each for itself.
constexpr std::string_view kOfEachRank[] = {"--threads"};

// All others, as the command has them; of a file that one names, what stands in it.
Status add_flags(const ModelFlags& flags, std::vector<NamedHash>& hashes) {
  for (const auto& [name, value] : flags.values()) {
    if (std::ranges::find(kOfEachRank, name) != std::end(kOfEachRank)) continue;
    std::error_code ignored;
    if (fs::is_regular_file(value, ignored)) {
      OCTET_ASSIGN_OR_RETURN(const uint64_t content, hash_file(value));
      hashes.push_back({fmt::format("the file of {}", name), content});
    } else {
      hashes.push_back({fmt::format("flags ({})", name), hash_text(value)});
    }
  }
  return ok_status();
}

}  // namespace

Result<std::vector<NamedHash>> fingerprint(const ModelFlags& flags, const fs::path& model) {
  std::vector<NamedHash> hashes;
  OCTET_ASSIGN_OR_RETURN(const uint64_t binary, hash_file("/proc/self/exe"));
  hashes.push_back({"the octet binary", binary});
  OCTET_RETURN_IF_ERROR(add_flags(flags, hashes));
  std::vector<fs::path> weights;
  for (const auto& entry : fs::directory_iterator(model)) {
    const fs::path& path = entry.path();
    if (path.extension() == ".safetensors") weights.push_back(path);
    if (!describes_model(path)) continue;
    OCTET_ASSIGN_OR_RETURN(const uint64_t hash, hash_file(path.string()));
    hashes.push_back({path.filename().string(), hash});
  }
  std::sort(weights.begin(), weights.end());
  uint64_t hash = kHashStart;
  for (const fs::path& path : weights) hash = hash_safetensors(path, hash);
  hashes.push_back({"safetensors headers and file sizes", hash});
  return hashes;
}

}  // namespace octet
