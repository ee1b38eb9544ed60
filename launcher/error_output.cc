#include "launcher/error_output.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace octet {
namespace {

bool takes_more(int descriptor, std::chrono::milliseconds limit) {
  pollfd errors{descriptor, POLLOUT, 0};
  return poll(&errors, 1, static_cast<int>(limit.count())) > 0;
}

}  // namespace

void ErrorOutput::add(std::string_view lines) {
  while (!lines.empty()) {
    const size_t line = std::min(lines.find('\n'), lines.size() - 1) + 1;
    if (unwritten_.size() + line > kMost) write_some();
    if (unwritten_.size() + line > kMost) {
      ++num_dropped_;
    } else {
      tell_of_dropped();
      unwritten_ += lines.substr(0, line);
    }
    lines.remove_prefix(line);
  }
  write_some();
}

void ErrorOutput::tell_of_dropped() {
  if (num_dropped_ == 0) return;
  unwritten_ += fmt::format("octet: {} lines are missing here: nobody read standard error\n", num_dropped_);
  num_dropped_ = 0;
}

// Of a pipe that takes more, PIPE_BUF bytes do not wait.
void ErrorOutput::write_some() {
  while (!unwritten_.empty() && takes_more(descriptor_, std::chrono::milliseconds(0))) {
    const ssize_t count = write(descriptor_, unwritten_.data(), std::min<size_t>(unwritten_.size(), PIPE_BUF));
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (count <= 0) return unwritten_.clear();  // nobody listens any more
    unwritten_.erase(0, static_cast<size_t>(count));
  }
}

void ErrorOutput::flush(std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  tell_of_dropped();
  while (!unwritten_.empty()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !takes_more(descriptor_, left)) return;
    write_some();
  }
}

}  // namespace octet
