// QueuedWriter: a stream whose writers never wait for those who read it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace octet {

// Texts wait in a queue, from which a thread of their own takes them to the descriptor. Where nobody reads, the oldest
// ones are lost in the end, and a line says how many lines went with them. A descriptor that cannot be written at all
// takes everything without a word. Thread-safe.
class QueuedWriter {
 public:
  // Says, as a line with its end, that so many lines were lost. Called by the writer's thread.
  using LostLines = std::function<std::string(int64_t num_lines)>;

  // The descriptor is borrowed. max_bytes: of all texts that wait; a longer one is cut.
  QueuedWriter(int descriptor, size_t max_bytes, LostLines lost_lines);
  // Writes what waits, however long that takes.
  ~QueuedWriter();
  QueuedWriter(const QueuedWriter&) = delete;
  QueuedWriter& operator=(const QueuedWriter&) = delete;

  // Never waits. `text`: whole lines, but for what a terminal redraws.
  void write(std::string text);
  // Whether everything is written.
  bool idle() const { return num_waiting_.load() == 0; }
  // Waits until all is written; gives up after `stall` without any progress, and after `limit` in any case. Whether all
  // is written. May be called by a signal's handler.
  bool flush(std::chrono::milliseconds stall, std::chrono::milliseconds limit) const;

 private:
  void run();
  void write_all(const std::string& text);

  const int descriptor_;
  const size_t max_bytes_;
  const LostLines lost_lines_;
  std::atomic<int64_t> num_waiting_ = 0;  // texts of the queue, and the one being written
  std::atomic<int64_t> bytes_written_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable news_;
  std::deque<std::string> queue_;
  size_t queued_bytes_ = 0;
  int64_t num_lost_ = 0;  // lines, since they were last told
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace octet
