// Any text as config.json and as generation_config.json.
#include "runtime/checkpoint/generation_config.h"
#include "runtime/checkpoint/sampling_params.h"
#include "tests/fuzz/config_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  octet::check_config(octet::parse_hf_config(text));
  const auto generation = octet::parse_generation_config(text, 32000);
  if (!generation.ok()) {
    octet::check_refusal(generation.status());
    return 0;
  }
  octet::SamplingParams params = generation->defaults;
  params.seed = 1;
  OCTET_CHECK(params.validate(32000).ok(), "a default that no request may have");
  for (const std::string& line : generation->left_out) OCTET_CHECK(line.find('\n') == std::string::npos);
  for (const octet::TokenId id : generation->eos_ids) OCTET_CHECK(id >= 0 && id < 32000);
  return 0;
}
