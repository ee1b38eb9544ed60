// ErrorOutput: what `octet run` passes on to its own standard error. Whoever is slow to read it, or does not read it at
// all, holds nobody up.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

// One thread.
class ErrorOutput {
 public:
  explicit ErrorOutput(int descriptor) : descriptor_(descriptor) {}

  // Writes what goes at once and keeps the rest, up to kMost bytes; beyond that whole lines are dropped, and counted.
  void add(std::string_view lines);
  // Whether something waits to be written, once poll says POLLOUT of the descriptor.
  bool waiting() const { return !unwritten_.empty(); }
  void write_some();
  // Everything, if it can be written within the time.
  void flush(std::chrono::milliseconds limit);

  static constexpr size_t kMost = size_t{1} << 20;

 private:
  void tell_of_dropped();

  const int descriptor_;
  std::string unwritten_;
  int64_t num_dropped_ = 0;  // lines, not yet told of
};

}  // namespace octet
