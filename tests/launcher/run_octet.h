// Runs the octet program as a process and collects what it writes.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/check.h"
#include "tests/base/temp_folder.h"

namespace octet::testing {

inline const std::filesystem::path kSourceDir = OCTET_SOURCE_DIR;
inline const std::filesystem::path kGoldenDir = kSourceDir / "tests/data/golden";
inline const std::filesystem::path kDemoModel = kSourceDir / "configs/models/octet-demo";

inline nlohmann::json read_json(const std::filesystem::path& path) { return nlohmann::json::parse(read_file(path)); }

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

inline std::vector<std::string> operator+(std::vector<std::string> arguments, const std::vector<std::string>& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// Token ids as text.
inline std::string spaced(const nlohmann::json& ids) {
  std::ostringstream text;
  const char* separator = "";
  for (const nlohmann::json& id : ids) text << std::exchange(separator, " ") << id;
  return text.str();
}

// How a process is started, beside its arguments.
struct Launch {
  std::string input = {};        // standard input, unless it is held open
  bool hold_input_open = false;  // standard input is a pipe: RunningOctet::type
  bool terminal = false;         // standard input is a terminal: RunningOctet::type, "\x03" is Ctrl-C, "\x04" Ctrl-D
  std::vector<std::pair<std::string, std::string>> environment = {};  // beside what the tests themselves have
  std::filesystem::path folder = {};                                  // to work in; empty: the tests' own
  std::string stdout_path = {};                                       // where standard output goes instead of to us
  bool stdout_closed = false;                                         // there is no standard output at all
  std::vector<std::string> wrapper = {};                              // words before the program, which they run
};

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

// A process under way. Its standard error goes to a file, so that it never waits for us to read it.
class RunningOctet {
 public:
  explicit RunningOctet(const std::vector<std::string>& arguments, const Launch& launch = {}) {
    std::array<int, 2> out{}, in{};
    OCTET_CHECK(::pipe2(out.data(), O_CLOEXEC) == 0 && ::pipe2(in.data(), O_CLOEXEC) == 0);
    if (launch.terminal) ::dup3(open_terminal(), in[1], O_CLOEXEC);
    write_file(folder_ / "stdin", launch.input);
    write_file(folder_ / "stderr", "");
    pid_ = ::fork();
    OCTET_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      if (!launch.stdout_path.empty()) out[1] = ::open(launch.stdout_path.c_str(), O_WRONLY);
      if (launch.terminal) {
        ::setsid();  // the terminal that is opened next is the process's own
        in[0] = ::open(terminal_.c_str(), O_RDWR);
      } else if (!launch.hold_input_open) {
        in[0] = ::open((folder_ / "stdin").c_str(), O_RDONLY);
      }
      become_octet(arguments, launch, in[0], out[1]);
    }
    ::close(out[1]);
    ::close(in[0]);
    out_ = out[0];
    in_ = in[1];
  }
  RunningOctet(const RunningOctet&) = delete;
  RunningOctet& operator=(const RunningOctet&) = delete;
  ~RunningOctet() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  // Reads standard output until it contains `text` or ends; everything read so far.
  const std::string& read_until(const std::string& text) {
    while (read_.find(text) == std::string::npos && read_some()) continue;
    return read_;
  }
  // Waits until standard error contains `text`, five minutes at most.
  void await_error(const std::string& text) const {
    for (int i = 0; i < 30'000; ++i) {
      const bool over = has_ended();
      if (read_file(folder_ / "stderr").find(text) != std::string::npos) return;
      if (over) break;
      ::usleep(10'000);
    }
    ADD_FAILURE() << "it never said: " << text << "\n" << read_file(folder_ / "stderr");
  }
  // Reads until there are so many bytes, or the end.
  const std::string& read_bytes(size_t size) {
    while (read_.size() < size && read_some()) continue;
    return read_;
  }
  void type(const std::string& text) const {
    OCTET_CHECK(::write(in_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void close_input() {
    if (in_ >= 0) ::close(in_);
    in_ = -1;
  }
  void send(int signal) const { ::kill(pid_, signal); }
  pid_t pid() const { return pid_; }
  // Whether it has, although wait() has not taken notice yet.
  bool has_ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
  }
  // From now on nobody takes its standard output.
  void stop_reading() {
    if (out_ >= 0) ::close(out_);
    out_ = -1;
  }

  // The rest of its output, and how it ended: its exit code, or 128 + the signal that killed it.
  Outcome wait() {
    close_input();
    while (read_some()) continue;
    stop_reading();
    int status = 0;
    OCTET_CHECK(::waitpid(pid_, &status, 0) == pid_);
    pid_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_, read_file(folder_ / "stderr")};
  }

 private:
  // A new terminal's side that types; its name into terminal_.
  int open_terminal() {
    const int keyboard = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    OCTET_CHECK(keyboard >= 0 && ::grantpt(keyboard) == 0 && ::unlockpt(keyboard) == 0);
    terminal_ = ::ptsname(keyboard);
    return keyboard;
  }

  // Whether there was anything to read.
  bool read_some() {
    std::array<char, 4096> buffer{};
    const ssize_t size = out_ < 0 ? 0 : ::read(out_, buffer.data(), buffer.size());
    if (size > 0) read_.append(buffer.data(), static_cast<size_t>(size));
    return size > 0;
  }

  [[noreturn]] void become_octet(const std::vector<std::string>& arguments, const Launch& launch, int in,
                                 int out) const {
    const int err = ::open((folder_ / "stderr").c_str(), O_WRONLY | O_APPEND);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(err, STDERR_FILENO);
    if (launch.stdout_closed) ::close(STDOUT_FILENO);
    ::unsetenv("OCTET_MODEL");
    ::setenv("OMPI_MCA_orte_tmpdir_base", folder_.path().c_str(), 1);  // jobs side by side share no folder
    for (const auto& [name, value] : launch.environment) ::setenv(name.c_str(), value.c_str(), 1);
    if (!launch.folder.empty() && ::chdir(launch.folder.c_str()) != 0) ::_exit(126);
    std::vector<char*> argv;
    for (const std::string& word : launch.wrapper) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(const_cast<char*>(OCTET_BINARY));
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }

  TempFolder folder_;
  std::string terminal_;
  pid_t pid_ = -1;
  int out_ = -1;
  int in_ = -1;
  std::string read_;
};

inline Outcome run_octet(const std::vector<std::string>& arguments, const Launch& launch = {}) {
  return RunningOctet(arguments, launch).wait();
}

// Standard output of a run that must succeed.
inline std::string output_of(const std::vector<std::string>& arguments, const Launch& launch = {}) {
  const Outcome outcome = run_octet(arguments, launch);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.out;
}

inline nlohmann::json json_of(const std::vector<std::string>& arguments, const Launch& launch = {}) {
  return nlohmann::json::parse(output_of(arguments, launch));
}

// The run must end with exit code 2, nothing on standard output, and one line on standard error that contains all
// `parts`.
inline void expect_refused(const std::vector<std::string>& arguments, const std::vector<std::string>& parts,
                           const Launch& launch = {}) {
  const Outcome outcome = run_octet(arguments, launch);
  SCOPED_TRACE(nlohmann::json(arguments).dump());
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
  for (const std::string& part : parts) EXPECT_THAT(outcome.err, ::testing::HasSubstr(part));
}

}  // namespace octet::testing
