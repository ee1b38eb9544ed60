// Cluster files: on which hosts a job runs, and what all of its runs there have in common.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel/topology.h"
#include "runtime/base/status.h"

namespace octet {

struct ClusterHost {
  std::string name;  // as the launch agent (ssh) knows it
  int slots = 1;     // ranks that the host is meant for
  bool operator==(const ClusterHost&) const = default;
};

// Keys of the file carry these names; see configs/clusters. What is not set is left to the octet command's own flags
// and defaults.
struct ClusterConfig {
  std::vector<ClusterHost> hosts;    // none: this host alone
  LayoutRequest layout{.world = 0};  // world: `ranks`; 0: one a slot
  std::string exchange, placement;
  std::string model;      // the same path on every host
  std::string binary;     // of octet, the same path on every host; empty: this program's own
  std::string device;     // as --device
  std::string kv_dtype;   // as --kv-dtype
  int device_memory = 0;  // GB of each rank's device, for octet plan; 0: not said
  std::string interface;  // network of MPI: an interface's name or a subnet (10.0.0.0/24)
  std::optional<double> heartbeat_limit, collective_limit;  // seconds
  std::vector<std::string> mpirun_args;                     // put behind octet's own

  // Flags of an octet command that say the same, as (name, value) pairs: ("--tp", "4").
  std::vector<std::pair<std::string, std::string>> command_flags() const;
};

// From TOML. kInvalidInput names `path` and the line: no such TOML, a key that there is not (with the nearest that
// there is), a value of another type or out of range, a host twice.
Result<ClusterConfig> parse_cluster_config(std::string_view toml, const std::string& path);
Result<ClusterConfig> read_cluster_config(const std::string& path);

// Hosts of a hostfile as mpirun reads it: a line each, `name slots=N`, # begins a comment. A host without slots has
// one; one that stands twice has the sum.
Result<std::vector<ClusterHost>> parse_hostfile(std::string_view text, const std::string& path);
Result<std::vector<ClusterHost>> read_hostfile(const std::string& path);

int total_slots(const std::vector<ClusterHost>& hosts);

// Where mpirun puts each of `num_ranks` ranks: slots are filled host by host; ranks beyond all slots are shared out
// evenly, the first hosts taking one more. Indexes of hosts, [num_ranks].
std::vector<size_t> host_of_ranks(const std::vector<ClusterHost>& hosts, int num_ranks);

}  // namespace octet
