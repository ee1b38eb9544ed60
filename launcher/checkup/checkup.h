// The checks behind `octet doctor`: what this machine has for running models, and what it lacks.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/device_probe.h"
#include "runtime/base/kernel_files.h"

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

// Processor, instruction sets, threads.
Findings check_processor(const KernelFiles& files);
// Memory, its limits, huge pages, shared memory.
Findings check_memory(const KernelFiles& files);
// What jobs of many ranks need: MPI, its launcher, memory copied from process to process, Slurm. Forks a child for a
// moment: no other thread may run.
Findings check_ranks();
// GPUs as the build's device library sees them; where it has none, as the kernel's driver does.
Findings check_devices(const KernelFiles& files, const DeviceProbe& probe);
// Memory and arithmetic, measured with one thread and with all: takes a few seconds. isa: empty, the best here.
Finding measure_ceilings(std::string_view isa = "");

}  // namespace octet
