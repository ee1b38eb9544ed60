// octet run: starts the ranks of a job and looks after them.
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>

#include "launcher/commands/commands.h"
#include "launcher/job/host_probe.h"
#include "launcher/job/job_flags.h"
#include "launcher/job/job_folder.h"
#include "launcher/job/job_message.h"
#include "launcher/job/supervisor.h"
#include "launcher/output.h"
#include "launcher/paths.h"
#include "runtime/base/host_limits.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

using Words = std::vector<std::string>;

// Cores of this host, hardware threads of one core counted once: what mpirun takes for its slots.
int local_cores() {
  std::set<std::string> cores;
  for (const int cpu : allowed_cpus()) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    std::string siblings;
    if (file >> siblings) cores.insert(siblings);
  }
  return std::max(1, static_cast<int>(cores.size()));
}

bool has_flag(const Words& words, const std::string& name) {
  return std::ranges::any_of(words,
                             [&](const std::string& word) { return word == name || word.starts_with(name + "="); });
}

// The value that the words of a command give a flag; empty: none.
std::string flag_value(const Words& words, const std::string& name) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].starts_with(name + "=")) return words[i].substr(name.size() + 1);
    if (words[i] == name && i + 1 < words.size()) return words[i + 1];
  }
  return "";
}

bool knows_flag(const std::string& command_name, const std::string& flag) {
  for (const auto& command : make_commands()) {
    if (command->name() != command_name) continue;
    CLI::App app;
    command->declare(app);
    return app.get_option_no_throw(flag) != nullptr;
  }
  return false;
}

// The octet command with the flags that the cluster file adds; those that the command has already beat them.
Words with_cluster_flags(const Words& command, const ClusterConfig& cluster) {
  Words words = {command.front()};
  for (const auto& [name, value] : cluster.command_flags()) {
    if (!has_flag(command, name) && knows_flag(command.front(), name)) words.insert(words.end(), {name, value});
  }
  words.insert(words.end(), command.begin() + 1, command.end());
  return words;
}

// A number that Slurm left in the environment.
int slurm_number(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::max(1, std::atoi(value));
}

// Inside an allocation Slurm knows the hosts, unless the job names its own.
bool uses_slurm(const ClusterConfig& cluster) {
  return std::getenv("SLURM_JOB_ID") != nullptr && cluster.hosts.empty();
}

// Whether a process may read another's memory, as MPI does to copy a message once instead of twice. Seccomp filters of
// containers forbid it, even of its own.
bool may_read_memory() {
  char from = 1, to = 0;
  const iovec local{&to, 1}, remote{&from, 1};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1;
}

// What a job on one host cannot do without, before MPI tells of it in pages.
Status check_this_host() {
  std::error_code error;
  const auto here = std::filesystem::current_path(error);
  if (here.empty())
    return invalid_input("the working directory is gone ({}): go to one that is there", error.message());
  if (own_addresses("lo").empty()) {
    return failed("the loopback interface is down, and the processes of a job need it: ip link set lo up");
  }
  return ok_status();
}

// Of mpirun on one host: nobody outside of it can reach its ports.
Words loopback_environment() {
  const std::string library = loopback_library().string();
  if (library.empty()) {
    log_warning("liboctet_loopback.so is missing beside this program: mpirun's ports are open to other hosts");
    return {};
  }
  const char* others = std::getenv("LD_PRELOAD");
  return {"LD_PRELOAD=" + library + (others == nullptr ? "" : std::string(":") + others)};
}

// Where each rank runs, by the names of the job; empty: on this host.
Words hosts_of_ranks(const JobSpec& job) {
  Words names;
  if (job.hosts.empty()) return names;
  for (const size_t host : host_of_ranks(job.hosts, job.num_ranks)) names.push_back(job.hosts[host].name);
  return names;
}

class RunCommand final : public Command {
 public:
  const char* name() const override { return "run"; }
  const char* summary() const override { return "Run an octet command as a job of many ranks"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet run --ranks 4 -- generate \"In the beginning\"\n"
           "  octet run --cluster two-hosts.toml -- generate --file prompt.txt\n"
           "  octet run --hostfile hosts --ranks 16 --dry-run -- logits \"Hello\" --out logits.safetensors\n"
           "Inside a Slurm allocation the ranks are started by srun, else by mpirun; the command is printed.\n"
           "Exit code 3: a rank was lost or hung, and one line says which.";
  }

  void declare(CLI::App& app) override {
    declare_job_flags(app, flags_);
    app.add_option("--restart", restarts_, "start a service that failed again, at most so many times in 10 minutes")
        ->check(CLI::Range(1, 1000000))
        ->type_name("N");
    app.add_option("--start-limit", start_limit_,
                   "end the job when its ranks do not find together; reading the model takes its own time")
        ->check(CLI::Range(1, 86400))
        ->type_name("SECONDS")
        ->capture_default_str();
    app.add_flag("--dry-run", dry_run_, "only print the command, on standard output");
    app.add_option("COMMAND", command_, "behind --: the octet command and its flags")->required();
  }

  Status run() override {
    const bool is_service = command_.front() == "serve";
    if (command_.front() == name()) return invalid_input("octet run cannot run itself");
    if (restarts_ > 0 && !is_service) {
      return invalid_input("--restart: {} is no service; only serve is started again", command_.front());
    }
    OCTET_ASSIGN_OR_RETURN(const ClusterConfig cluster, resolve_job(flags_));
    const Words command = with_cluster_flags(command_, cluster);
    const JobSpec job = make_job(cluster, command);
    if (uses_slurm(cluster) && !cluster.mpirun_args.empty()) {
      return invalid_input("{}: mpirun_args: inside a Slurm allocation srun starts the ranks", flags_.cluster);
    }
    const Words line = uses_slurm(cluster) ? srun_command(job) : mpirun_command(job);
    if (dry_run_) return print_line(shell_line(line));
    OCTET_RETURN_IF_ERROR(check_this_host());
    const std::string model = flag_value(command, "--model");
    OCTET_RETURN_IF_ERROR(probe_hosts(job, job.program.front(), model.empty() ? default_model().string() : model));
    // What Slurm's daemons keep is theirs.
    std::optional<JobFolder> folder;
    if (!uses_slurm(cluster)) {
      OCTET_ASSIGN_OR_RETURN(JobFolder made, JobFolder::create(job.hosts.empty()));
      folder.emplace(std::move(made));
    }
    log_info("{}", shell_line(line));
    SupervisedJob supervised = supervise(job, uses_slurm(cluster) || !job.hosts.empty());
    supervised.command = line;
    supervised.is_service = is_service;
    if (folder) std::ranges::copy(folder->environment(), std::back_inserter(supervised.environment));
    return Supervisor(std::move(supervised)).run();
  }

 private:
  JobSpec make_job(const ClusterConfig& cluster, const Words& command) const {
    JobSpec job;
    job.num_ranks = cluster.layout.world;
    job.hosts = cluster.hosts;
    job.hostfile = flags_.hostfile;
    job.local_slots = local_cores();
    if (uses_slurm(cluster)) {
      job.local_slots = slurm_number("SLURM_NTASKS", slurm_number("SLURM_JOB_NUM_NODES", 1));
      job.cpus_per_task = slurm_number("SLURM_CPUS_PER_TASK", 0);
    }
    job.interface = cluster.interface;
    job.reads_memory = may_read_memory();
    job.as_root = geteuid() == 0;
    if (!job.hosts.empty()) job.environment.emplace_back(kJobVariable);  // here ranks have what mpirun has
    if (!job.hosts.empty() && !job.interface.empty()) job.environment.emplace_back(kInterfaceVariable);
    for (const char* name : {"OCTET_MODEL", kLogFormatVariable}) {
      if (std::getenv(name) != nullptr) job.environment.emplace_back(name);
    }
    job.launcher_args = cluster.mpirun_args;
    job.program = {cluster.binary.empty() ? own_binary().string() : cluster.binary};
    job.program.insert(job.program.end(), command.begin(), command.end());
    return job;
  }

  SupervisedJob supervise(const JobSpec& job, bool several_hosts) const {
    SupervisedJob supervised;
    supervised.num_ranks = job.num_ranks;
    supervised.several_hosts = several_hosts;
    supervised.interface = job.interface;
    supervised.host_of_rank = hosts_of_ranks(job);
    supervised.start_limit = std::chrono::seconds(start_limit_);
    supervised.restarts = restarts_;
    if (!several_hosts) supervised.environment = loopback_environment();
    if (!job.interface.empty()) supervised.environment.push_back(std::string(kInterfaceVariable) + "=" + job.interface);
    return supervised;
  }

  JobFlags flags_;
  int restarts_ = 0;
  int start_limit_ = 120;
  bool dry_run_ = false;
  Words command_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<RunCommand>(); }

}  // namespace octet
