// What control groups (containers, batch systems) allow this process, of both versions: version 2 has one tree, version
// 1 one a controller. A group is bound by its parents, too.
#include <algorithm>
#include <sstream>

#include "launcher/checkup/checkup.h"

namespace octet {
namespace {

// Folders of this process's group and its parents in the tree of `controller`, e.g. "sys/fs/cgroup/memory/a/b". In a
// container the group's path may be the host's, which is not there: then only the top is.
std::vector<std::string> group_folders(const KernelFiles& files, const std::string& controller) {
  std::vector<std::string> folders;
  for (const std::string& line : files.lines("proc/self/cgroup")) {
    std::istringstream fields(line);
    std::string number, controllers, path;
    std::getline(fields, number, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, path);
    const bool version2 = controllers.empty();
    if (!version2 && ("," + controllers + ",").find("," + controller + ",") == std::string::npos) continue;
    const std::string tree = version2 ? "sys/fs/cgroup" : "sys/fs/cgroup/" + controller;
    for (std::filesystem::path at = path; at.has_relative_path(); at = at.parent_path())
      folders.push_back(tree + at.string());
    folders.push_back(tree);
  }
  return folders;
}

}  // namespace

std::optional<int64_t> memory_limit(const KernelFiles& files) {
  std::optional<int64_t> least;
  const auto take = [&](std::optional<int64_t> bytes) {
    if (bytes && (!least || *bytes < *least)) least = bytes;
  };
  std::istringstream total(files.field("proc/meminfo", "MemTotal").value_or(""));
  if (int64_t kilobytes = 0; total >> kilobytes) take(kilobytes * 1024);
  for (const std::string& folder : group_folders(files, "memory")) {
    take(files.number(folder + "/memory.max"));
    take(files.number(folder + "/memory.limit_in_bytes"));
  }
  return least;
}

std::optional<double> cpu_quota(const KernelFiles& files) {
  std::optional<double> least;
  const auto take = [&](double quota, double period) {
    if (quota > 0 && period > 0 && (!least || quota / period < *least)) least = quota / period;
  };
  for (const std::string& folder : group_folders(files, "cpu")) {
    std::istringstream both(files.line(folder + "/cpu.max").value_or(""));
    if (double quota = 0, period = 0; both >> quota >> period) take(quota, period);
    take(static_cast<double>(files.number(folder + "/cpu.cfs_quota_us").value_or(-1)),
         static_cast<double>(files.number(folder + "/cpu.cfs_period_us").value_or(-1)));
  }
  return least;
}

}  // namespace octet
