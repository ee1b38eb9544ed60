// The flags that say how many ranks a job has and on which hosts: of `octet run` and `octet plan`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "launcher/job/cluster_config.h"

namespace octet {

struct JobFlags {
  int ranks = 0;  // 0: as the cluster file says, else one a slot, else one
  std::string cluster, hostfile;
};

void declare_job_flags(CLI::App& app, JobFlags& flags);

// The cluster that the flags name, with the number of ranks filled in (layout.world).
Result<ClusterConfig> resolve_job(const JobFlags& flags);

}  // namespace octet
