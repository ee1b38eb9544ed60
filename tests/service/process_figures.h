// What a process holds: memory, descriptors, threads.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace octet::testing {

struct ProcessFigures {
  int64_t resident_bytes = 0;
  int64_t descriptors = 0;
  int64_t threads = 0;
};

// How many entries a folder has that may change meanwhile; 0: it is gone.
inline int64_t num_entries(const std::filesystem::path& folder) {
  std::error_code error;
  int64_t count = 0;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    ++count;
  }
  return count;
}

inline ProcessFigures figures_of(pid_t process) {
  const std::filesystem::path folder = "/proc/" + std::to_string(process);
  std::ifstream statm(folder / "statm");
  int64_t total = 0, resident = 0;
  statm >> total >> resident;
  return {resident * ::sysconf(_SC_PAGESIZE), num_entries(folder / "fd"), num_entries(folder / "task")};
}

}  // namespace octet::testing
