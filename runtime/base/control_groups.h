// Where the control groups of this process are, of both versions: version 2 has one tree, version 1 one a controller.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/kernel_files.h"

namespace octet {

struct ControlGroup {
  std::string name;    // its path in its tree: "/batch/job"
  std::string folder;  // of its files: "sys/fs/cgroup/batch/job"
};

// This process's group and its parents in every tree that may have the files of `controller` ("memory", "cpu"), each
// before its parent. In a container the group's path may be the host's, which is not there: then only the top is.
std::vector<ControlGroup> control_groups(const KernelFiles& files, const std::string& controller);

}  // namespace octet
