// Any text as a shard index: refused with one line, or plain file names.
#include "runtime/base/check.h"
#include "runtime/checkpoint/safetensors_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto shards = octet::parse_safetensors_index({reinterpret_cast<const char*>(data), size});
  if (!shards.ok()) {
    OCTET_CHECK(shards.status().code() == octet::StatusCode::kInvalidInput);
    OCTET_CHECK(shards.status().message().find('\n') == std::string::npos);
    return 0;
  }
  for (const auto& [tensor, shard] : *shards) {
    OCTET_CHECK(shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos && shard != "..");
  }
  return 0;
}
