#include "runtime/service/grpc/rpc_status.h"

#include <google/protobuf/message_lite.h>

#include "runtime/base/check.h"
#include "runtime/base/utf8.h"
#include "runtime/service/octet.pb.h"

namespace octet {
namespace {

// Types of google.rpc, which octet.v1's twins are on the wire.
void add_detail(v1::StatusDetails& details, const char* type, const google::protobuf::MessageLite& message) {
  google::protobuf::Any& any = *details.add_details();
  any.set_type_url(std::string("type.googleapis.com/google.rpc.") + type);
  any.set_value(message.SerializeAsString());
}

// What clients sent may be in it, and may have been cut in the middle of a character.
std::string valid_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const Utf8Prefix prefix = utf8_prefix(text);
    valid += prefix.kind == Utf8Kind::kComplete ? text.substr(0, prefix.num_bytes) : kReplacementCharacter;
    text.remove_prefix(prefix.num_bytes);
  }
  return valid;
}

v1::StatusDetails make_details(grpc::StatusCode code, const std::string& message) {
  v1::StatusDetails details;
  details.set_code(code);
  details.set_message(message);
  return details;
}

grpc::Status with_details(grpc::StatusCode code, const std::string& message, const v1::StatusDetails& details) {
  return {code, message, details.SerializeAsString()};
}

}  // namespace

grpc::Status rpc_error(grpc::StatusCode code, const std::string& text) {
  const std::string message = valid_utf8(text);
  return with_details(code, message, make_details(code, message));
}

grpc::Status rpc_retry(grpc::StatusCode code, const std::string& message, std::chrono::milliseconds delay) {
  v1::StatusDetails details = make_details(code, message);
  v1::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(delay.count() / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(delay.count() % 1000 * 1'000'000));
  add_detail(details, "RetryInfo", retry);
  return with_details(code, message, details);
}

grpc::Status rpc_bad_field(const std::string& field, const std::string& text) {
  const std::string description = valid_utf8(text);
  const std::string message = field + ": " + description;
  v1::StatusDetails details = make_details(grpc::StatusCode::INVALID_ARGUMENT, message);
  v1::BadRequest bad;
  v1::BadRequest::FieldViolation& violation = *bad.add_field_violations();
  violation.set_field(field);
  violation.set_description(description);
  add_detail(details, "BadRequest", bad);
  return with_details(grpc::StatusCode::INVALID_ARGUMENT, message, details);
}

std::string failure_reason(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "invalid_argument";
    case grpc::StatusCode::NOT_FOUND:
      return "not_found";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "already_exists";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "resource_exhausted";
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "failed_precondition";
    case grpc::StatusCode::UNAVAILABLE:
      return "unavailable";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "unauthenticated";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "deadline_exceeded";
    case grpc::StatusCode::CANCELLED:
      return "cancelled";
    default:
      return "internal";
  }
}

grpc::Status not_a_message() {
  return rpc_error(grpc::StatusCode::INTERNAL, "the bytes are no message of this method");
}

grpc::Status missing_key() {
  return rpc_error(grpc::StatusCode::UNAUTHENTICATED, "the metadata \"authorization: Bearer KEY\" is missing or wrong");
}

grpc::Status rpc_status(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (status.code() != StatusCode::kInvalidInput) return rpc_error(grpc::StatusCode::INTERNAL, status.message());
  OCTET_CHECK(!status.field().empty(), "'{}' names no field", status.message());
  return rpc_bad_field(status.field(), std::string(status.description()));
}

}  // namespace octet
