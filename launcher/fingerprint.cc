#include "launcher/fingerprint.h"

#include <cstring>

#include "runtime/base/hash.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/read_file.h"
#include "runtime/model/model_folder.h"

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
    if (!file_exists(model / name)) continue;
    OCTET_ASSIGN_OR_RETURN(const uint64_t hash, hash_file((model / name).string()));
    hashes.push_back({name, hash});
  }
  if (const fs::path tokenizer = find_tokenizer_file(model); !tokenizer.empty()) {
    OCTET_ASSIGN_OR_RETURN(const uint64_t hash, hash_file(tokenizer.string()));
    hashes.push_back({tokenizer.filename().string(), hash});
  }
  OCTET_ASSIGN_OR_RETURN(const std::vector<fs::path> files, files_of_folder(model));
  uint64_t hash = kHashStart;
  for (const fs::path& path : files) {
    if (path.extension() != ".safetensors") continue;
    OCTET_ASSIGN_OR_RETURN(hash, hash_safetensors(path, hash));
  }
  hashes.push_back({"safetensors headers and file sizes", hash});
  return hashes;
}

}  // namespace octet
