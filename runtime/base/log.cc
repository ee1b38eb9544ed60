#include "runtime/base/log.h"

#include <fmt/chrono.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/base/process_end.h"
#include "runtime/base/queued_writer.h"
#include "runtime/base/quote.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxWaitingBytes = 1 << 20;
constexpr size_t kMaxMessageBytes = 8 << 10;
constexpr size_t kMaxFieldBytes = 1 << 10;
constexpr milliseconds kStall{1000}, kLongestFlush{5000};

struct LevelNames {
  const char* name;
  const char* colour;  // of a message on a terminal
};
constexpr std::array<LevelNames, 5> kLevels{{{"debug", "\x1b[36m"},
                                             {"info", "\x1b[32m"},
                                             {"warn", "\x1b[33m\x1b[1m"},
                                             {"error", "\x1b[31m\x1b[1m"},
                                             {"off", ""}}};
constexpr const char* kNoColour = "\x1b[m";

struct LogStyle {
  bool is_json = false;
  bool is_coloured = false;
  std::string label = "octet";
  int rank = 0;
};

std::atomic<LogLevel> least_level = LogLevel::kInfo;
// Never destroyed: other threads may have something to say while the process exits.
struct KnownStyle {
  std::mutex mutex;  // guards style
  std::shared_ptr<const LogStyle> style = std::make_shared<LogStyle>();
};
KnownStyle& known_style() {
  static KnownStyle& known = *new KnownStyle;
  return known;
}

std::shared_ptr<const LogStyle> style() {
  const std::lock_guard lock(known_style().mutex);
  return known_style().style;
}

bool terminal_has_colours() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

std::string now_text() {
  const auto now = std::chrono::system_clock::now();
  const auto since = std::chrono::duration_cast<milliseconds>(now.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(since / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", utc, since % 1000);
}

std::string dump(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

nlohmann::ordered_json json_head(const LogStyle& log, LogLevel level) {
  return {{"time", now_text()}, {"level", kLevels[static_cast<size_t>(level)].name}, {"rank", log.rank}};
}

std::string field_text(const LogField& field) {
  if (const auto* integer = std::get_if<int64_t>(&field.value)) return fmt::format("{}={}", field.name, *integer);
  if (const auto* number = std::get_if<double>(&field.value)) return fmt::format("{}={:.3f}", field.name, *number);
  const auto text = std::get<std::string_view>(field.value);
  return fmt::format("{}={}", field.name, is_plain_word(text) ? std::string(text) : quote(text));
}

bool is_left_out(const LogField& field) {
  const auto* text = std::get_if<std::string_view>(&field.value);
  return text != nullptr && text->empty();
}

std::string message_of(std::initializer_list<LogField> fields, std::string_view words) {
  std::string message;
  for (const LogField& field : fields) {
    if (!is_left_out(field)) message += (message.empty() ? "" : " ") + field_text(field);
  }
  if (!message.empty() && !words.empty()) message += ' ';
  return message + escape_line(words, kMaxMessageBytes);
}

std::string line_of(const LogStyle& log, LogLevel level, std::initializer_list<LogField> fields,
                    std::string_view words) {
  std::string message = message_of(fields, words);
  if (!log.is_json) {
    if (!log.is_coloured) return fmt::format("{}: {}\n", log.label, message);
    return fmt::format("{}: {}{}{}\n", log.label, kLevels[static_cast<size_t>(level)].colour, message, kNoColour);
  }
  nlohmann::ordered_json object = json_head(log, level);
  object["message"] = std::move(message);
  for (const LogField& field : fields) {
    if (is_left_out(field)) continue;
    nlohmann::ordered_json& member = object[std::string(field.name)];
    if (const auto* integer = std::get_if<int64_t>(&field.value)) member = *integer;
    if (const auto* number = std::get_if<double>(&field.value)) member = *number;
    if (const auto* text = std::get_if<std::string_view>(&field.value)) member = cut_text(*text, kMaxFieldBytes);
  }
  return dump(object);
}

std::string lost_lines(int64_t num_lines) {
  return line_of(*style(), LogLevel::kWarning, {}, fmt::format("{} lines lost: nobody read standard error", num_lines));
}

// Made with the first line, and again in a process that was forked: its threads are the parent's. Never destroyed, for
// a thread that waits for a reader cannot be.
std::atomic<QueuedWriter*> known_errors = nullptr;

std::atomic<void (*)(int exit_code)> process_end = nullptr;

QueuedWriter& errors() {
  if (QueuedWriter* known = known_errors.load()) return *known;
  static const bool prepared = [] {
    ::pthread_atfork(nullptr, nullptr, [] { known_errors = nullptr; });
    return std::atexit(flush_log) == 0;
  }();
  (void)prepared;
  auto made = std::make_unique<QueuedWriter>(STDERR_FILENO, kMaxWaitingBytes, lost_lines);
  QueuedWriter* none = nullptr;
  return known_errors.compare_exchange_strong(none, made.get()) ? *made.release() : *none;
}

}  // namespace

Status init_log(const LogOptions& options) {
  const auto level = std::ranges::find(kLevels, options.level, &LevelNames::name);
  if (level == kLevels.end()) {
    return invalid_input("--log-level {}: not a level (debug, info, warn, error, off)", quote(options.level));
  }
  if (options.format != "text" && options.format != "json") {
    return invalid_input("--log-format {}: not a format (text, json)", quote(options.format));
  }
  least_level = static_cast<LogLevel>(level - kLevels.begin());
  const std::lock_guard lock(known_style().mutex);
  known_style().style = std::make_shared<LogStyle>(
      LogStyle{options.format == "json", terminal_has_colours(), options.label, options.rank});
  return ok_status();
}

bool is_logged(LogLevel level) { return level >= least_level.load(); }

void log_event(LogLevel level, std::initializer_list<LogField> fields, std::string_view words) {
  if (is_logged(level)) errors().write(line_of(*style(), level, fields, words));
}

void pass_on_lines(std::string_view lines, std::string_view source) {
  const auto log = style();
  if (!log->is_json) return errors().write(std::string(lines));
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size() - 1) + 1;
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end);
    if (line.starts_with('{')) {
      errors().write(std::string(line));
    } else {
      nlohmann::ordered_json object = json_head(*log, LogLevel::kInfo);
      object["message"] = escape_line(line.substr(0, line.find('\n')), kMaxMessageBytes);
      object["source"] = source;
      errors().write(dump(object));
    }
  }
}

void write_to_terminal(std::string text) { errors().write(std::move(text)); }

bool log_is_idle() {
  const QueuedWriter* known = known_errors.load();
  return known == nullptr || known->idle();
}

void flush_log() {
  if (const QueuedWriter* known = known_errors.load()) known->flush(kStall, kLongestFlush);
}

void set_process_end(void (*end)(int exit_code)) { process_end = end; }

void end_process(int exit_code) {
  flush_log();
  if (const auto end = process_end.load()) end(exit_code);
  std::abort();
}

}  // namespace octet
