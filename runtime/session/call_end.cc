#include "runtime/session/call_end.h"

#include "runtime/base/check.h"

namespace octet {

CallEnd refusal(const Status& status) {
  if (status.ok()) return {};
  const std::string& message = status.message();
  if (status.code() != StatusCode::kInvalidInput) return {.code = CallEndCode::kInternal, .message = message};
  const auto colon = message.find(": ");
  OCTET_CHECK(colon != std::string::npos, "no field in '{}'", message);
  return {
      .code = CallEndCode::kInvalidArgument, .message = message.substr(colon + 2), .field = message.substr(0, colon)};
}

}  // namespace octet
