// The checks behind `octet doctor`: what this machine has for running models, and what it lacks.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device_probe.h"

namespace octet {

enum class Grade {
  kGood,     // as it should be
  kHint,     // works; could be better, or could surprise
  kMissing,  // something that Octet uses is not there
};

// Names and values, in their order.
using Facts = nlohmann::ordered_json::object_t;

struct Finding {
  std::string topic;  // "memory", "huge pages"
  Grade grade = Grade::kGood;
  std::string text = {};    // what there is, one line
  std::string remedy = {};  // what to do, one line; empty where nothing is to be done
  Facts facts = {};         // the same in names and numbers
};

using Findings = std::vector<Finding>;

std::string_view grade_name(Grade grade);  // "ok", "hint", "missing"

// The kernel's own files (/proc, /sys, /dev). Tests give a tree of their own.
class KernelFiles {
 public:
  explicit KernelFiles(std::filesystem::path root = "/") : root_(std::move(root)) {}

  // The first line of a file; nothing where it cannot be read. `path` without the leading slash.
  std::optional<std::string> line(const std::string& path) const;
  std::vector<std::string> lines(const std::string& path) const;
  // The number that a file holds; nothing for "max" and the like.
  std::optional<int64_t> number(const std::string& path) const;
  // The value of a "NAME : VALUE" line, as /proc/cpuinfo and /proc/meminfo have them.
  std::optional<std::string> field(const std::string& path, std::string_view name) const;
  // Names in a folder that begin with `start`, sorted.
  std::vector<std::string> names(const std::string& folder, std::string_view start) const;
  bool exists(const std::string& path) const;
  std::filesystem::path path(const std::string& path) const { return root_ / path; }

 private:
  std::filesystem::path root_;
};

// Processor, instruction sets, threads.
Findings check_processor(const KernelFiles& files);
// Memory, its limits, huge pages, shared memory.
Findings check_memory(const KernelFiles& files);
// What jobs of many ranks need: MPI, its launcher, memory copied from process to process, Slurm. Forks a child for a
// moment: no other thread may run.
Findings check_ranks();
// GPUs as the build's device library sees them; where it has none, as the kernel's driver does.
Findings check_devices(const KernelFiles& files, const DeviceProbe& probe);
// Memory and arithmetic, measured with one thread and with all: takes a second.
Finding measure_ceilings();

// The lesser of what the machine has and what control groups allow, in bytes; nothing where neither is known.
std::optional<int64_t> memory_limit(const KernelFiles& files);
// CPUs that control groups allow, as 1.5; nothing where there is no limit.
std::optional<double> cpu_quota(const KernelFiles& files);

}  // namespace octet
