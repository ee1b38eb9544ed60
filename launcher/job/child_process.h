// A program that this process starts, listens to and signals.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/unique_fd.h"

namespace octet {

struct ChildOptions {
  bool own_group = false;                     // a process group of its own: a terminal's Ctrl-C does not reach it
  bool no_input = false;                      // standard input is /dev/null instead of this process's
  bool capture_output = false;                // standard output comes here instead of going where this process's goes
  std::vector<std::string> environment = {};  // "NAME=VALUE", beside this process's or instead of its value
};

// Standard error always comes here. The program ends by SIGTERM when this process dies before it.
class ChildProcess {
 public:
  // kFailed where there is no such program; words[0] is looked up in $PATH.
  static Result<ChildProcess> start(const std::vector<std::string>& words, const ChildOptions& options);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  // Kills what still runs.
  ~ChildProcess();

  int errors() const { return errors_.get(); }  // to read from
  int output() const { return output_.get(); }  // -1: not captured
  int exited() const { return exited_.get(); }  // readable once the program has ended
  void send(int signal) const;
  // Waits for the end. What waitpid says.
  int wait();

 private:
  ChildProcess() = default;

  pid_t pid_ = -1;
  UniqueFd errors_, output_, exited_;
};

// From now on processes whose parents end before them are this process's children if a child of its own is above them.
void adopt_orphans();

// Ends the children of this process that have not ended by themselves at `deadline`: asks, and kills after a second.
// For a process whose children are all orphans that it has adopted.
void end_orphans(std::chrono::steady_clock::time_point deadline);

// What can be read now is put behind `text`; false at the end of the stream. Waits for at least a byte.
bool read_some(int descriptor, std::string& text);

}  // namespace octet
