// What commands write: data to standard output, progress to standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "runtime/base/status.h"

namespace octet {

// Writes to standard output and flushes; kFailed when it is closed or full.
Status print(std::string_view text);
Status print_line(std::string_view text);

// Whether a person reads standard output. Not that of a rank: mpirun gives its ranks terminals of its own.
bool output_is_terminal();

// One line; bytes that are not UTF-8 become U+FFFD.
std::string dump_json(const nlohmann::ordered_json& json);

// A bar on standard error that is redrawn in place; nothing when that is not a terminal.
class ProgressBar {
 public:
  // total_text: the total with its unit.
  ProgressBar(std::string label, int64_t total, std::string total_text);
  ~ProgressBar() { clear(); }
  bool enabled() const { return enabled_; }
  // note: what else there is to say, redrawn a few times a second.
  void update(int64_t done, std::string_view note = "");
  // Takes the bar away, so that a line can be logged in its place.
  void clear();

 private:
  std::string label_;
  int64_t total_;
  std::string total_text_;
  int last_percent_ = -1;
  std::chrono::steady_clock::time_point last_drawn_;
  bool enabled_;
};

}  // namespace octet
