#include "launcher/output.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "comm/comm_factory.h"
#include "runtime/base/log.h"

namespace octet {

namespace {

// A reader that has enough (`| head`) ends this process as it ends every other: by SIGPIPE, without a word. A rank's
// standard output is mpirun's, whose own end says why.
void end_if_nobody_reads() {
  if (errno != EPIPE || launched_as_rank()) return;
  std::signal(SIGPIPE, SIG_DFL);
  std::raise(SIGPIPE);
}

}  // namespace

Status print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return ok_status();
  const int error = errno;
  end_if_nobody_reads();
  return failed("standard output: {}", std::strerror(error));
}

bool output_is_terminal() { return !launched_as_rank() && isatty(STDOUT_FILENO) != 0; }

Status print_line(std::string_view text) { return print(std::string(text) + "\n"); }

std::string dump_json(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
}

ProgressBar::ProgressBar(std::string label, int64_t total, std::string total_text)
    : label_(std::move(label)),
      total_(total),
      total_text_(std::move(total_text)),
      enabled_(total > 0 && isatty(STDERR_FILENO) != 0) {}

void ProgressBar::clear() {
  if (last_percent_ < 0) return;
  write_to_terminal("\r\033[K");
  flush_log();  // what standard output shows next is not to be taken away with it
  last_percent_ = -1;
}

void ProgressBar::update(int64_t done, std::string_view note) {
  if (!enabled_ || !log_is_idle()) return;
  const int percent = static_cast<int>(100 * done / total_);
  const auto now = std::chrono::steady_clock::now();
  const bool note_is_due = !note.empty() && now - last_drawn_ > std::chrono::milliseconds(200);
  if (percent == last_percent_ && !note_is_due) return;
  last_percent_ = percent;
  last_drawn_ = now;
  constexpr int kWidth = 30;
  std::string bar(static_cast<size_t>(percent * kWidth / 100), '#');
  bar.resize(kWidth, '.');
  write_to_terminal(fmt::format("\r{} [{}] {:3}% of {}{}\033[K", label_, bar, percent, total_text_, note));
}

}  // namespace octet
