#include "runtime/base/queued_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;

int64_t num_lines(const std::string& text) { return std::max<int64_t>(1, std::ranges::count(text, '\n')); }

// A thread that no signal is delivered to: they are for those who wait for them.
template <typename Work>
std::thread start_deaf(Work work) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(work));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

QueuedWriter::QueuedWriter(int descriptor, size_t max_bytes, LostLines lost_lines)
    : descriptor_(descriptor), max_bytes_(max_bytes), lost_lines_(std::move(lost_lines)) {
  thread_ = start_deaf([this] { run(); });
}

QueuedWriter::~QueuedWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  news_.notify_one();
  thread_.join();
}

void QueuedWriter::write(std::string text) {
  if (text.empty()) return;
  if (text.size() > max_bytes_) {
    text.resize(max_bytes_);
    text.back() = '\n';
  }
  {
    const std::lock_guard lock(mutex_);
    while (!queue_.empty() && queued_bytes_ + text.size() > max_bytes_) {
      num_lost_ += num_lines(queue_.front());
      queued_bytes_ -= queue_.front().size();
      queue_.pop_front();
      --num_waiting_;
    }
    queued_bytes_ += text.size();
    queue_.push_back(std::move(text));
    ++num_waiting_;
  }
  news_.notify_one();
}

void QueuedWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    news_.wait(lock, [this] { return !queue_.empty() || stopping_; });
    if (queue_.empty()) return;
    const int64_t num_lost = std::exchange(num_lost_, 0);
    const std::string text = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= text.size();
    lock.unlock();
    if (num_lost > 0) write_all(lost_lines_(num_lost));
    write_all(text);
    --num_waiting_;
    lock.lock();
  }
}

void QueuedWriter::write_all(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
    if (count > 0) {
      done += static_cast<size_t>(count);
      bytes_written_ += count;
    } else if (errno == EAGAIN) {  // another process made it non-blocking
      pollfd room{descriptor_, POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

bool QueuedWriter::flush(std::chrono::milliseconds stall, std::chrono::milliseconds limit) const {
  constexpr timespec kPause{0, 200'000};
  const auto begin = Clock::now();
  auto last_progress = begin;
  int64_t before = -1;
  while (!idle()) {
    const auto now = Clock::now();
    if (const int64_t progress = bytes_written_ - num_waiting_; progress != before) {
      before = progress;
      last_progress = now;
    }
    if (now - last_progress >= stall || now - begin >= limit) return false;
    ::nanosleep(&kPause, nullptr);
  }
  return true;
}

}  // namespace octet
