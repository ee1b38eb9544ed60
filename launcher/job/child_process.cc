#include "launcher/job/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <utility>

#include "runtime/base/check.h"

namespace octet {
namespace {

struct Pipe {
  UniqueFd read, write;
};

Pipe make_pipe() {
  int ends[2] = {-1, -1};
  OCTET_CHECK(pipe2(ends, O_CLOEXEC) == 0, "pipe: {}", std::strerror(errno));
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

struct ChildEnds {
  int errors, output, failure;  // output: -1 keeps this process's
  pid_t parent;
};

// Pointers to them, with a null behind, as exec takes them.
std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_with(const std::vector<std::string>& own) {
  std::vector<std::string> all = own;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name = std::string_view(*entry).substr(0, std::string_view(*entry).find('=') + 1);
    if (std::ranges::none_of(own, [&](const std::string& other) { return other.starts_with(name); })) {
      all.emplace_back(*entry);
    }
  }
  return all;
}

// The child's way from fork to exec: system calls only. Reports errno where exec fails.
[[noreturn]] void become(char* const* words, char* const* environment, const ChildOptions& options,
                         const ChildEnds& ends) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != ends.parent) _exit(127);  // it died before it could be watched
  if (options.own_group) setpgid(0, 0);
  if (options.no_input) dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  if (ends.output >= 0) dup2(ends.output, STDOUT_FILENO);
  dup2(ends.errors, STDERR_FILENO);
  std::signal(SIGPIPE, SIG_DFL);
  std::signal(SIGXFSZ, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvpe(words[0], words, environment);
  const int error = errno;
  [[maybe_unused]] const ssize_t ignored = write(ends.failure, &error, sizeof(error));
  _exit(127);
}

void signal_children(int signal) {
  std::error_code gone;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", gone)) {
    std::ifstream children(thread.path() / "children");
    for (pid_t child = 0; children >> child;) kill(child, signal);
  }
}

// Whether they have, by then.
bool all_children_end(std::chrono::steady_clock::time_point deadline) {
  while (true) {
    const pid_t ended = waitpid(-1, nullptr, WNOHANG);
    if (ended < 0 && errno == ECHILD) return true;
    if (ended > 0) continue;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

Result<ChildProcess> ChildProcess::start(const std::vector<std::string>& words, const ChildOptions& options) {
  const std::vector<std::string> environment = environment_with(options.environment);
  const std::vector<char*> argv = pointers_to(words), envp = pointers_to(environment);
  Pipe errors = make_pipe(), failure = make_pipe(), output;
  if (options.capture_output) output = make_pipe();
  const ChildEnds ends{errors.write.get(), output.write.get(), failure.write.get(), getpid()};
  ChildProcess child;
  child.pid_ = fork();
  OCTET_CHECK(child.pid_ >= 0, "fork: {}", std::strerror(errno));
  if (child.pid_ == 0) become(argv.data(), envp.data(), options, ends);
  child.exited_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, child.pid_, 0)));
  child.errors_ = std::move(errors.read);
  child.output_ = std::move(output.read);
  failure.write.reset();
  int error = 0;
  if (read(failure.read.get(), &error, sizeof(error)) == sizeof(error)) {
    child.wait();
    return failed("cannot run {}: {}", words[0], std::strerror(error));
  }
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      errors_(std::move(other.errors_)),
      output_(std::move(other.output_)),
      exited_(std::move(other.exited_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  send(SIGKILL);
  wait();
}

void ChildProcess::send(int signal) const { kill(pid_, signal); }

int ChildProcess::wait() {
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
  return status;
}

void adopt_orphans() { prctl(PR_SET_CHILD_SUBREAPER, 1); }

void end_orphans(std::chrono::steady_clock::time_point deadline) {
  if (!all_children_end(deadline)) signal_children(SIGTERM);
  if (!all_children_end(std::chrono::steady_clock::now() + std::chrono::seconds(1))) signal_children(SIGKILL);
  all_children_end(std::chrono::steady_clock::now() + std::chrono::seconds(1));
}

bool read_some(int descriptor, std::string& text) {
  std::array<char, 4096> buffer{};
  ssize_t count = -1;
  do {
    count = read(descriptor, buffer.data(), buffer.size());
  } while (count < 0 && errno == EINTR);
  if (count > 0) text.append(buffer.data(), static_cast<size_t>(count));
  return count > 0;
}

}  // namespace octet
