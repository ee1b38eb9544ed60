// The process's log and whatever else goes to standard error: one line a message (standard output carries data only).
// Nobody ever waits for who reads it: a thread writes, and where nobody reads, the oldest lines are lost and counted.
// Whatever is in a message, it stays one line of readable text: control characters and bytes that are not UTF-8 are
// escaped, and a message of more than 8 KiB is cut. Thread-safe.
#pragma once

#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

#include "runtime/base/status.h"

namespace octet {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

struct LogOptions {
  std::string level = "info";   // debug, info, warn, error, off
  std::string format = "text";  // text: "LABEL: message"; json: an object a line, with time, level, rank and message
  std::string label = "octet";  // "octet rank 3" in a job
  int rank = 0;
};

// kInvalidInput for a level or a format that is none. What is not set stays as above.
Status init_log(const LogOptions& options);

// Whether a message of this level is written.
bool is_logged(LogLevel level);

// A fact of a message: name=value in front of a text's words, where a string that is not a plain word is quoted and
// cut; a member of a JSON object, with its type. An empty string is no fact, and left out.
struct LogField {
  using Value = std::variant<int64_t, double, std::string_view>;

  template <std::integral T>
  LogField(std::string_view key, T integer) : name(key), value(static_cast<int64_t>(integer)) {}
  LogField(std::string_view key, double number) : name(key), value(number) {}
  LogField(std::string_view key, std::string_view text) : name(key), value(text) {}

  std::string_view name;  // not time, level, rank, message or source
  Value value;
};

void log_event(LogLevel level, std::initializer_list<LogField> fields, std::string_view words = "");

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (is_logged(LogLevel::kDebug)) log_event(LogLevel::kDebug, {}, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (is_logged(LogLevel::kInfo)) log_event(LogLevel::kInfo, {}, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  if (is_logged(LogLevel::kWarning)) {
    log_event(LogLevel::kWarning, {}, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  if (is_logged(LogLevel::kError)) log_event(LogLevel::kError, {}, fmt::format(format, std::forward<Args>(args)...));
}

// Lines that other programs have written, each with its end: as they are, but as JSON where the log is JSON and they
// are not, with "source": `source`.
void pass_on_lines(std::string_view lines, std::string_view source);

// Bytes for a terminal, between messages: a prompt, a bar that is redrawn.
void write_to_terminal(std::string text);
// Whether everything is written.
bool log_is_idle();
// Gives standard error a second to take what waits, and more while it takes some. May be called by a signal's handler.
// Also done when the process ends by exit() or the end of main().
void flush_log();
// flush_log(), then _exit(): for whoever may have said something before.
[[noreturn]] void end_process(int exit_code);

}  // namespace octet
