// Child processes, each with CUDA and an environment of its own. The parent must not use CUDA.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

struct Child {
  int status = 0;      // of waitpid
  std::string output;  // stdout and stderr
  bool passed() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

// How many children have come to some point; made before they are.
class Arrivals {
 public:
  Arrivals() {
    void* p = mmap(nullptr, sizeof *count_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    count_ = new (p) std::atomic<int>(0);
  }
  ~Arrivals() { munmap(count_, sizeof *count_); }
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  void arrive() { ++*count_; }
  // False if not so many come within a minute.
  bool await(int count) const {
    for (int i = 0; i < 60'000 && *count_ < count; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return *count_ >= count;
  }

 private:
  std::atomic<int>* count_;
};

using Environment = std::vector<std::pair<std::string, std::string>>;

// Runs body(0) … body(count − 1) at the same time in processes of their own. A child passes if no expectation failed.
inline std::vector<Child> run_children(int count, const Environment& environment,
                                       const std::function<void(int)>& body) {
  std::fflush(stdout);
  std::vector<Child> children(static_cast<std::size_t>(count));
  std::vector<pid_t> ids;
  std::vector<int> pipes;
  for (int i = 0; i < count; ++i) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    const pid_t id = fork();
    if (id == 0) {
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      body(i);
      std::fflush(stdout);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    close(ends[1]);
    ids.push_back(id);
    pipes.push_back(ends[0]);
  }
  for (std::size_t i = 0; i < children.size(); ++i) {
    char buffer[4096];
    for (ssize_t n; (n = read(pipes[i], buffer, sizeof buffer)) > 0;)
      children[i].output.append(buffer, static_cast<std::size_t>(n));
    close(pipes[i]);
    waitpid(ids[i], &children[i].status, 0);
  }
  return children;
}
