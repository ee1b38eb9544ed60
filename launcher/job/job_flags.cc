#include "launcher/job/job_flags.h"

namespace octet {

void declare_job_flags(CLI::App& app, JobFlags& flags) {
  app.add_option("--ranks", flags.ranks,
                 "processes of the job (default: what the cluster file says, else one a slot, else 1)")
      ->check(CLI::Range(1, 4096))
      ->type_name("N");
  CLI::Option* cluster =
      app.add_option("--cluster", flags.cluster, "TOML file with hosts, layout, model (see configs/clusters)")
          ->type_name("FILE");
  app.add_option("--hostfile", flags.hostfile, "hosts as mpirun reads them: a line `name slots=N` each")
      ->type_name("FILE")
      ->excludes(cluster);
}

Result<ClusterConfig> resolve_job(const JobFlags& flags) {
  ClusterConfig cluster;
  if (!flags.cluster.empty()) {
    OCTET_ASSIGN_OR_RETURN(cluster, read_cluster_config(flags.cluster));
  }
  if (!flags.hostfile.empty()) {
    OCTET_ASSIGN_OR_RETURN(cluster.hosts, read_hostfile(flags.hostfile));
  }
  if (flags.ranks > 0) cluster.layout.world = flags.ranks;
  if (cluster.layout.world == 0) cluster.layout.world = std::max(1, total_slots(cluster.hosts));
  return cluster;
}

}  // namespace octet
