// What the kernel tells in files: /proc, /sys, /dev.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

// Reads the files of one tree, anew at every call. Tests give a tree of their own. Paths are without the leading slash.
class KernelFiles {
 public:
  explicit KernelFiles(std::filesystem::path root = "/") : root_(std::move(root)) {}

  // The first line of a file; nothing where it cannot be read.
  std::optional<std::string> line(const std::string& path) const;
  std::vector<std::string> lines(const std::string& path) const;
  // The number that a file holds; nothing for "max" and the like.
  std::optional<int64_t> number(const std::string& path) const;
  // The value of a "NAME : VALUE" line, as /proc/cpuinfo and /proc/meminfo have them.
  std::optional<std::string> field(const std::string& path, std::string_view name) const;
  // The same of "NAME: NUMBER kB", in bytes.
  std::optional<int64_t> field_bytes(const std::string& path, std::string_view name) const;
  // The number of a "NAME NUMBER" line, as a control group's memory.stat has them.
  std::optional<int64_t> entry(const std::string& path, std::string_view name) const;
  // Names in a folder that begin with `start`, sorted.
  std::vector<std::string> names(const std::string& folder, std::string_view start) const;
  bool exists(const std::string& path) const;
  std::filesystem::path path(const std::string& path) const { return root_ / path; }

 private:
  std::filesystem::path root_;
};

}  // namespace octet
