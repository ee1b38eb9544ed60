#include "runtime/base/control_groups.h"

#include <sstream>

namespace octet {
namespace {

// A mounted tree of control groups.
struct Mount {
  std::string root;    // the group that is its top: "/", or a container's
  std::string folder;  // where it is mounted, without the leading slash
};

bool has_word(const std::string& words, const std::string& word) {
  return ("," + words + ",").find("," + word + ",") != std::string::npos;
}

// proc(5), mountinfo: "36 35 0:31 ROOT FOLDER options… - TYPE source SUPER-OPTIONS".
std::vector<Mount> mounts_of(const KernelFiles& files, const std::string& controller, bool version2) {
  std::vector<Mount> mounts;
  for (const std::string& line : files.lines("proc/self/mountinfo")) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream front(line.substr(0, dash)), back(line.substr(dash + 3));
    std::string number, parent, device, root, folder, type, source, options;
    front >> number >> parent >> device >> root >> folder;
    back >> type >> source >> options;
    const bool wanted = version2 ? type == "cgroup2" : type == "cgroup" && has_word(options, controller);
    if (wanted && folder.size() > 1) mounts.push_back({root, folder.substr(1)});
  }
  // A kernel that does not tell has them where systemd mounts them.
  if (mounts.empty()) mounts.push_back({"/", version2 ? "sys/fs/cgroup" : "sys/fs/cgroup/" + controller});
  return mounts;
}

// The part of `path` below `root`; empty where it is not below.
std::string below(const std::string& path, const std::string& root) {
  if (root == "/") return path;
  return path.starts_with(root + "/") ? path.substr(root.size()) : "";
}

}  // namespace

std::vector<ControlGroup> control_groups(const KernelFiles& files, const std::string& controller) {
  std::vector<ControlGroup> groups;
  for (const std::string& line : files.lines("proc/self/cgroup")) {
    std::istringstream fields(line);
    std::string number, controllers, path;
    std::getline(fields, number, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, path);
    const bool version2 = controllers.empty();
    if (!version2 && !has_word(controllers, controller)) continue;
    for (const Mount& mount : mounts_of(files, controller, version2)) {
      for (std::filesystem::path at = below(path, mount.root); at.has_relative_path(); at = at.parent_path())
        groups.push_back({at.string(), mount.folder + at.string()});
      groups.push_back({"/", mount.folder});
    }
  }
  return groups;
}

}  // namespace octet
