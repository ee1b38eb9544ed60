#include "runtime/session/fingerprint.h"

#include <cstring>
#include <string_view>

#include "runtime/base/hash.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/read_file.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

// The header of a safetensors file and the size of the whole.
Result<uint64_t> hash_safetensors(const fs::path& path, uint64_t before) {
  OCTET_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  std::string_view text = file.text();
  uint64_t header_size = 0;
  if (text.size() >= sizeof(header_size)) {
    std::memcpy(&header_size, text.data(), sizeof(header_size));
    text.remove_prefix(sizeof(header_size));
  }
  return hash_text(fmt::format("{} {} ", path.filename().string(), file.bytes().size()),
                   hash_text(text.substr(0, header_size), before));
}

// Configuration, tokenizers and templates, whichever of them is read.
bool describes_model(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".json") || name.ends_with(".jinja") || name.find(".model") != std::string::npos;
}

}  // namespace

Result<std::vector<NamedHash>> fingerprint(const std::function<Result<std::vector<NamedHash>>()>& others,
                                           const fs::path& model) {
  std::vector<NamedHash> hashes;
  OCTET_ASSIGN_OR_RETURN(const uint64_t binary, hash_file("/proc/self/exe"));
  hashes.push_back({"the octet binary", binary});
  if (others) {
    OCTET_ASSIGN_OR_RETURN(const std::vector<NamedHash> more, others());
    hashes.insert(hashes.end(), more.begin(), more.end());
  }
  OCTET_ASSIGN_OR_RETURN(const std::vector<fs::path> files, files_of_folder(model));
  for (const fs::path& path : files) {
    if (!describes_model(path)) continue;
    OCTET_ASSIGN_OR_RETURN(const uint64_t hash, hash_file(path.string()));
    hashes.push_back({path.filename().string(), hash});
  }
  uint64_t hash = kHashStart;
  for (const fs::path& path : files) {
    if (path.extension() != ".safetensors") continue;
    OCTET_ASSIGN_OR_RETURN(hash, hash_safetensors(path, hash));
  }
  hashes.push_back({"safetensors headers and file sizes", hash});
  return hashes;
}

}  // namespace octet
