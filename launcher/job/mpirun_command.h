// The command that starts the ranks of a job: pure functions from what is wanted to the words of mpirun or srun.
#pragma once

#include <string>
#include <vector>

#include "launcher/job/cluster_config.h"

namespace octet {

// A job as its launcher has to know it.
struct JobSpec {
  int num_ranks = 1;
  std::vector<ClusterHost> hosts = {};  // none: this host alone
  std::string hostfile = {};            // where `hosts` are from, if from there
  int local_slots = 1;                  // of this host, as mpirun counts them: cores; of a Slurm allocation: tasks
  int cpus_per_task = 0;                // that a Slurm allocation was asked for; 0: it was not said
  std::string interface = {};           // network of MPI and its launcher; empty: they choose
  bool reads_memory = true;             // processes of a host may copy from each other's memory
  bool as_root = false;                 // mpirun wants to hear that this is meant
  std::vector<std::string> environment = {};    // names of variables that the ranks get from here
  std::vector<std::string> launcher_args = {};  // put behind the ones above
  std::vector<std::string> program = {};        // what each rank runs
};

// mpirun ... program. On one host ranks share memory and open no port, and what MPI's launcher says to itself stays on
// the loopback interface. How it ends what is left of a job is its own: SIGTERM after a second, SIGKILL after another
// (odls_base_sigkill_timeout stretches both, and with them the end of every job that fails). Ranks are put on hosts as
// host_of_ranks says.
std::vector<std::string> mpirun_command(const JobSpec& job);

// srun ... program, inside a Slurm allocation, whose hosts it takes. More ranks than the allocation has tasks share its
// CPUs. srun forgets the allocation's --cpus-per-task (since Slurm 22.05), so it is said again.
std::vector<std::string> srun_command(const JobSpec& job);

// The same job with one rank a host, which runs `program`: to look at the hosts before the job starts.
JobSpec one_rank_a_host(JobSpec job, std::vector<std::string> program);

// The words as one line that a shell reads back as the same words.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace octet
