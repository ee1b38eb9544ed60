// Any text as config.json and as generation_config.json.
#include "runtime/model/generation_config.h"
#include "tests/fuzz/config_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  octet::check_config(octet::parse_hf_config(text));
  const auto generation = octet::parse_generation_config(text, 32000);
  if (!generation.ok()) {
    octet::check_refusal(generation.status());
    return 0;
  }
  OCTET_CHECK(generation->defaults.temperature >= 0 && generation->defaults.top_p > 0);
  for (const octet::TokenId id : generation->eos_ids) OCTET_CHECK(id >= 0 && id < 32000);
  return 0;
}
