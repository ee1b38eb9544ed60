#include "runtime/session/call_end.h"

#include "runtime/base/check.h"

namespace octet {

CallEnd refusal(const Status& status) {
  if (status.ok()) return {};
  if (status.code() != StatusCode::kInvalidInput) return {.code = CallEndCode::kInternal, .message = status.message()};
  OCTET_CHECK(!status.field().empty(), "'{}' names no field", status.message());
  return {.code = CallEndCode::kInvalidArgument, .message = std::string(status.description()), .field = status.field()};
}

}  // namespace octet
