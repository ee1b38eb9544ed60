#include "bench/roofline.h"

#include <algorithm>

namespace octet {
namespace {

// Seconds of sending `bytes` evenly to the `group` consecutive ranks of a group, this one aside. Links within the node
// and the network work at once.
double send_seconds(double bytes, int group, const DeviceCeilings& device) {
  if (bytes == 0) return 0;
  const int near = std::min(group, device.devices_per_node) - 1;
  const double peers = group - 1;
  const double within = near > 0 ? bytes * near / peers / device.link_bytes_per_second : 0;
  const double beyond = peers > near ? bytes * (peers - near) / peers / device.network_bytes_per_second : 0;
  return std::max(within, beyond);
}

}  // namespace

double KernelBound::seconds() const { return std::max({memory_seconds, arithmetic_seconds, link_seconds}); }

const char* KernelBound::limit() const {
  if (link_seconds > std::max(memory_seconds, arithmetic_seconds)) return "link";
  return arithmetic_seconds > memory_seconds ? "arithmetic" : "memory";
}

StepBound step_bound(std::vector<KernelCost> kernels, const Topology& topology, const DeviceCeilings& device) {
  StepBound bound;
  double memory = 0, arithmetic = 0, link = 0;
  for (KernelCost& cost : kernels) {
    // Rows of several dp groups meet in the expert group; attention's sums stay in the tp group.
    const int group = cost.name == "exchange" ? std::max(topology.ep * topology.etp, topology.tp) : topology.tp;
    const KernelBound kernel{cost, cost.bytes / device.read_bytes_per_second,
                             cost.operations / device.product_operations_per_second,
                             send_seconds(cost.sent_bytes, group, device)};
    memory += kernel.memory_seconds;
    arithmetic += kernel.arithmetic_seconds;
    link += kernel.link_seconds;
    bound.in_turn_seconds += kernel.seconds();
    bound.launch_seconds += static_cast<double>(cost.calls) * device.seconds_per_launch;
    bound.kernels.push_back(kernel);
  }
  bound.overlapped_seconds = std::max({memory, arithmetic, link});
  return bound;
}

}  // namespace octet
