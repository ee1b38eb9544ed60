#include "launcher/fingerprint.h"

#include <algorithm>
#include <cstring>
#include <fstream>

#include "runtime/base/hash.h"
#include "runtime/model/model_folder.h"

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

uint64_t hash_configuration(const ModelFlags& f) {
  return hash_text(fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", f.device, f.isa, f.weights, f.kv_dtype,
                               f.kv_cache, f.prefill_chunk, f.max_batch, f.max_context, f.tp, f.dp, f.ep, f.etp,
                               f.exchange, f.exchange_dtype, f.check_weights));
}

}  // namespace

Result<std::vector<NamedHash>> fingerprint(const ModelFlags& flags, const fs::path& model) {
  std::vector<NamedHash> hashes;
  OCTET_ASSIGN_OR_RETURN(const uint64_t binary, hash_file("/proc/self/exe"));
  hashes.push_back({"the octet binary", binary});
  hashes.push_back({"flags", hash_configuration(flags)});
  if (flags.placement != "linear" && flags.placement != "round-robin") {
    OCTET_ASSIGN_OR_RETURN(const uint64_t placement, hash_file(flags.placement));
    hashes.push_back({"the placement file", placement});
  }
  for (const char* name : {"config.json", "params.json", "generation_config.json"}) {
    if (!fs::exists(model / name)) continue;
    OCTET_ASSIGN_OR_RETURN(const uint64_t hash, hash_file((model / name).string()));
    hashes.push_back({name, hash});
  }
  if (const fs::path tokenizer = find_tokenizer_file(model); !tokenizer.empty()) {
    OCTET_ASSIGN_OR_RETURN(const uint64_t hash, hash_file(tokenizer.string()));
    hashes.push_back({tokenizer.filename().string(), hash});
  }
  std::vector<fs::path> weights;
  for (const auto& entry : fs::directory_iterator(model)) {
    if (entry.path().extension() == ".safetensors") weights.push_back(entry.path());
  }
  std::sort(weights.begin(), weights.end());
  uint64_t hash = kHashStart;
  for (const fs::path& path : weights) hash = hash_safetensors(path, hash);
  hashes.push_back({"safetensors headers and file sizes", hash});
  return hashes;
}

}  // namespace octet
