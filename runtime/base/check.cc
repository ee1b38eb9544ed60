#include "runtime/base/check.h"

#include <cstdlib>

#include "runtime/base/log.h"

namespace octet {

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  log_error("{}:{}: check failed: {}{}{}", file, line, condition, message.empty() ? "" : ": ", message);
  flush_log();
  std::abort();
}

}  // namespace octet
