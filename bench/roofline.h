// The bound of a step: the time that a device's ceilings and links allow for what the step has to read, compute and
// send.
#pragma once

#include <string>
#include <vector>

#include "bench/step_cost.h"

namespace octet {

// What one rank's device and its links give at best; from a file in configs/devices, or measured.
struct DeviceCeilings {
  std::string name;
  std::vector<std::string> gpu_names = {};  // as drivers report it
  double read_bytes_per_second = 0;
  double product_operations_per_second = 0;  // of matrix products in the weights' precision, without sparsity
  int devices_per_node = 1;
  double link_bytes_per_second = 0;     // that a device sends to others of its node
  double network_bytes_per_second = 0;  // that a device sends to other nodes
  double seconds_per_launch = 0;        // of a kernel by the host, where no graph replays it
};

struct KernelBound {
  KernelCost cost;
  double memory_seconds = 0;
  double arithmetic_seconds = 0;
  double link_seconds = 0;

  // Nothing is faster than the slowest of the three.
  double seconds() const;
  const char* limit() const;  // "memory", "arithmetic", "link"
};

struct StepBound {
  std::vector<KernelBound> kernels;
  double in_turn_seconds = 0;     // kernels one after the other, each at its bound
  double overlapped_seconds = 0;  // memory, arithmetic and links all busy at once: nothing can beat this
  double launch_seconds = 0;      // beside both, without graphs
};

StepBound step_bound(std::vector<KernelCost> kernels, const Topology& topology, const DeviceCeilings& device);

}  // namespace octet
