// Standard error that nobody reads: a pipe of one page.
#pragma once

#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tests/launcher/run_octet.h"

namespace octet::testing {

class UnreadErrors {
 public:
  UnreadErrors() {
    OCTET_CHECK(::mkfifo(path_.c_str(), 0600) == 0);
    reader_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    OCTET_CHECK(reader_ >= 0 && ::fcntl(reader_, F_SETPIPE_SZ, 4096) == 4096);
  }
  UnreadErrors(const UnreadErrors&) = delete;
  UnreadErrors& operator=(const UnreadErrors&) = delete;
  ~UnreadErrors() { stop_reading(); }

  // Starts the program with the pipe. `before`: what the shell does first.
  Launch launch(const std::string& before = "") const {
    return {.wrapper = {"bash", "-c", "exec 2>" + path_ + "; " + before + " exec \"$@\"", "bash"}};
  }
  // Reads to the end: until the last process that has the pipe is gone.
  std::string read_to_end() {
    OCTET_CHECK(::fcntl(reader_, F_SETFL, O_RDONLY) == 0);
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t count = 0; (count = ::read(reader_, buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<size_t>(count));
    }
    return text;
  }
  // How many bytes wait to be read.
  int num_unread() const {
    int bytes = 0;
    OCTET_CHECK(::ioctl(reader_, FIONREAD, &bytes) == 0);
    return bytes;
  }
  // From now on there is no reader at all.
  void stop_reading() {
    if (reader_ >= 0) ::close(reader_);
    reader_ = -1;
  }

 private:
  TempFolder folder_;
  std::string path_ = folder_ / "errors";
  int reader_ = -1;
};

}  // namespace octet::testing
