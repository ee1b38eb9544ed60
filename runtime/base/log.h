// The process's log: one line a message on stderr (stdout carries data only). Thread-safe.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "runtime/base/status.h"

namespace octet {

// Sets the level ("debug", "info", "warn", "error", "off") and the label in front of every line ("octet" for a single
// process, "octet rank 3" in a job).
Status init_log(const std::string& level, const std::string& label);

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::debug(format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::info(format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::warn(format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  spdlog::error(format, std::forward<Args>(args)...);
}

}  // namespace octet
