// Any text as params.json.
#include "tests/fuzz/config_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  octet::check_config(octet::parse_native_params({reinterpret_cast<const char*>(data), size}));
  return 0;
}
