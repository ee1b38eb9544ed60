// WatchedJob: a job under mpirun that a test harms, and what its watchdogs say.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/network.h"

namespace octet {

// A folder for one job: jobs that start and end at the same time would make and remove the same session folder.
class SessionFolder {
 public:
  SessionFolder() { EXPECT_NE(mkdtemp(path_.data()), nullptr); }
  ~SessionFolder() { std::filesystem::remove_all(path_); }
  SessionFolder(const SessionFolder&) = delete;
  SessionFolder& operator=(const SessionFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = std::filesystem::temp_directory_path() / "octet-job-XXXXXX";
};

// mpirun of a program whose ranks print "rank R is process P" once they work.
class WatchedJob {
  using Clock = std::chrono::steady_clock;

 public:
  // program: its path and its arguments; environment: NAME=VALUE; options: mpirun's.
  WatchedJob(int num_ranks, const std::vector<std::string>& program, const std::vector<std::string>& environment = {},
             const std::vector<std::string>& options = {})
      : num_ranks_(static_cast<size_t>(num_ranks)) {
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // MPI keeps memory to the end of the process
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    output_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    std::vector<std::string> words = {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"};
    words.insert(words.end(), {"--mca", "orte_tmpdir_base", session_.path(), "-n", std::to_string(num_ranks)});
    for (const std::string& setting : environment) words.insert(words.end(), {"-x", setting});
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), program.begin(), program.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 2);
    EXPECT_EQ(posix_spawnp(&mpirun_, "mpirun", &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~WatchedJob() {
    if (mpirun_ > 0) kill(mpirun_, SIGTERM);
    if (mpirun_ > 0) waitpid(mpirun_, nullptr, 0);
  }
  WatchedJob(const WatchedJob&) = delete;
  WatchedJob& operator=(const WatchedJob&) = delete;

  // The processes by rank, once all of them work. Throws if not all come to it.
  std::vector<pid_t> processes() {
    const auto deadline = Clock::now() + std::chrono::seconds(120);
    while (pids().size() < num_ranks_) {
      if (!read_some(deadline)) throw std::runtime_error("not all ranks work: " + text_);
    }
    std::vector<pid_t> processes;
    for (const auto& [rank, pid] : pids()) processes.push_back(pid);
    return processes;
  }
  pid_t process(int rank) { return processes().at(static_cast<size_t>(rank)); }

  // Waits for the end; -1 if it does not come in time, else mpirun's exit code.
  int exit_code(std::chrono::milliseconds limit) {
    const auto deadline = Clock::now() + limit;
    while (read_some(deadline)) continue;
    int status = 0;
    while (waitpid(mpirun_, &status, WNOHANG) == 0) {
      if (Clock::now() > deadline) return -1;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    mpirun_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  const std::string& text() const { return text_; }
  pid_t mpirun() const { return mpirun_; }

  // Lines that a watchdog printed, callbacks apart.
  std::vector<std::string> verdicts() const {
    std::vector<std::string> lines;
    for (size_t begin = 0; begin < text_.size();) {
      const size_t end = std::min(text_.find('\n', begin), text_.size());
      const std::string line = text_.substr(begin, end - begin);
      if (line.starts_with("octet rank") && line.find("called back") == std::string::npos) lines.push_back(line);
      begin = end + 1;
    }
    return lines;
  }

 private:
  std::map<int, pid_t> pids() const {
    std::map<int, pid_t> found;
    const char* line = text_.c_str();
    for (int rank = 0, pid = 0; (line = std::strstr(line, "rank ")) != nullptr; ++line) {
      if (std::sscanf(line, "rank %d is process %d", &rank, &pid) == 2) found[rank] = pid;
    }
    return found;
  }

  // False at the end of the output, or of the time.
  bool read_some(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd poll_fd{output_.get(), POLLIN, 0};
    if (left <= 0 || poll(&poll_fd, 1, static_cast<int>(left)) <= 0) return false;
    char block[4096];
    const ssize_t count = read(output_.get(), block, sizeof(block));
    if (count > 0) text_.append(block, static_cast<size_t>(count));
    return count > 0;
  }

  const size_t num_ranks_;
  const SessionFolder session_;
  pid_t mpirun_ = -1;
  UniqueFd output_;
  std::string text_;
};

}  // namespace octet
