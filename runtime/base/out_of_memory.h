// Memory that cannot be had: an exception (std::bad_alloc) from where it is asked for to the nearest place that can
// give up what it was doing, and a Status from there on.
#pragma once

#include <cstddef>
#include <new>
#include <string>

#include "runtime/base/status.h"

namespace octet {

// A large allocation that failed.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t bytes) noexcept : bytes_(bytes) {}
  const char* what() const noexcept override { return "out of memory"; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
};

// kFailed: how much was asked for, where that is known, and what bounds this process and how much that leaves it.
Status out_of_memory(const std::bad_alloc& error);

// What `work` returns (a Status or a Result), or the Status of its running out of memory.
template <typename Work>
auto or_out_of_memory(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc& error) {
    return out_of_memory(error);
  }
}

// From now on a thread that runs out of memory where nobody can give up ends the process with one line on the log and
// exit code 1; what else no one catches aborts as before. Call once, at the start of the program.
void end_when_out_of_memory();

}  // namespace octet
