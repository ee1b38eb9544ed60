// Any bytes for the files of an offline batch are refused with one line or understood.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "runtime/base/check.h"
#include "runtime/engine/batch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const octet::BatchLine& line : octet::parse_batch(text, {})) {
    OCTET_CHECK(nlohmann::json::accept(line.id));
    if (line.request.ok()) continue;
    OCTET_CHECK(line.request.status().message().find('\n') == std::string::npos);
    (void)octet::batch_error_line(line, line.request.status(), line.openai_error);
  }
  // What is kept of an output is an output of which everything is kept.
  const auto progress = octet::scan_batch_output(text);
  if (!progress.ok()) return 0;
  const auto again = octet::scan_batch_output(progress->kept);
  OCTET_CHECK(again.ok() && again->kept == progress->kept && again->answered == progress->answered);
  return 0;
}
