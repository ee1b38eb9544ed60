// Errors as values across every boundary: Status says what went wrong and which kind of failure it is; Result<T> is a
// value or such a Status. Messages are one line that names what, where and what to do.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace octet {

// The kinds of failure a user can tell apart; the command line maps each to one exit code.
enum class StatusCode {
  kOk,            // exit code 0
  kFailed,        // failed while running: exit code 1
  kInvalidInput,  // usage, file or configuration is wrong: exit code 2
  kRankLost,      // a rank of the job died or hangs: exit code 3
  kInterrupted,   // the user asked to stop: exit code 130
};

// Small, and nothing is allocated while all is well. Copies share what they say.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message);
  // An error in one field of what was given, as whoever checks it calls the field: its message is the name, a space and
  // `description` ("top_p 1.5 is not in (0, 1]").
  Status(StatusCode code, std::string_view field, std::string_view description);

  bool ok() const { return error_ == nullptr; }
  StatusCode code() const { return ok() ? StatusCode::kOk : error_->code; }
  const std::string& message() const;
  // The field that is wrong; empty where the error names none.
  const std::string& field() const;
  // The message without the field in front.
  std::string_view description() const;
  // The process exit code that this status stands for.
  int exit_code() const;

 private:
  struct Error {
    StatusCode code;
    std::string message;
    std::string field;
  };

  std::shared_ptr<const Error> error_;  // null: ok
};

inline Status ok_status() { return {}; }

template <typename... Args>
Status invalid_input(fmt::format_string<Args...> format, Args&&... args) {
  return {StatusCode::kInvalidInput, fmt::format(format, std::forward<Args>(args)...)};
}

// The same in one field of what was given.
template <typename... Args>
Status invalid_field(std::string_view field, fmt::format_string<Args...> format, Args&&... args) {
  return {StatusCode::kInvalidInput, field, fmt::format(format, std::forward<Args>(args)...)};
}

template <typename... Args>
Status failed(fmt::format_string<Args...> format, Args&&... args) {
  return {StatusCode::kFailed, fmt::format(format, std::forward<Args>(args)...)};
}

// A T or the Status (never kOk) that says why there is none. Reading the value of a failed Result aborts.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  Status status() const { return ok() ? Status() : std::get<1>(state_); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace octet

#define OCTET_CONCAT_INNER(a, b) a##b
#define OCTET_CONCAT(a, b) OCTET_CONCAT_INNER(a, b)

// Returns the status of `expression` from the enclosing function unless it is ok.
#define OCTET_RETURN_IF_ERROR(expression)                       \
  do {                                                          \
    if (auto octet_status = (expression); !octet_status.ok()) { \
      return octet_status;                                      \
    }                                                           \
  } while (false)

// Evaluates `expression` (a Result); assigns its value to `lhs` (which may be a declaration) or returns its status.
#define OCTET_ASSIGN_OR_RETURN(lhs, expression) \
  OCTET_ASSIGN_OR_RETURN_IMPL(OCTET_CONCAT(octet_result_, __LINE__), lhs, expression)
#define OCTET_ASSIGN_OR_RETURN_IMPL(result, lhs, expression) \
  auto result = (expression);                                \
  if (!result.ok()) return result.status();                  \
  lhs = *std::move(result)
