#include "runtime/base/status.h"

namespace octet {
namespace {

const std::string& nothing() {
  static const std::string empty;
  return empty;
}

}  // namespace

Status::Status(StatusCode code, std::string message)
    : error_(code == StatusCode::kOk ? nullptr : std::make_shared<const Error>(Error{code, std::move(message), {}})) {}

Status::Status(StatusCode code, std::string_view field, std::string_view description)
    : error_(std::make_shared<const Error>(Error{code, fmt::format("{} {}", field, description), std::string(field)})) {
}

const std::string& Status::message() const { return ok() ? nothing() : error_->message; }

const std::string& Status::field() const { return ok() ? nothing() : error_->field; }

std::string_view Status::description() const {
  const std::string_view all = message();
  return field().empty() ? all : all.substr(field().size() + 1);
}

int Status::exit_code() const {
  switch (code()) {
    case StatusCode::kOk:
      return 0;
    case StatusCode::kFailed:
      return 1;
    case StatusCode::kInvalidInput:
      return 2;
    case StatusCode::kRankLost:
      return 3;
    case StatusCode::kInterrupted:
      return 130;
  }
  return 1;
}

}  // namespace octet
