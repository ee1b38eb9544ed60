#include "launcher/job/mpirun_command.h"

#include <fmt/format.h>

#include <algorithm>

namespace octet {
namespace {

using Words = std::vector<std::string>;

void append(Words& words, const Words& more) { words.insert(words.end(), more.begin(), more.end()); }

void append_hosts(Words& words, const JobSpec& job) {
  if (!job.hostfile.empty()) {
    append(words, {"--hostfile", job.hostfile});
  } else {
    Words names;
    for (const ClusterHost& host : job.hosts) names.push_back(fmt::format("{}:{}", host.name, host.slots));
    append(words, {"--host", fmt::format("{}", fmt::join(names, ","))});
  }
  append(words, {"--map-by", "slot"});
}

// Unless the job chooses for itself.
void append_parameter(Words& words, const JobSpec& job, const std::string& name, const std::string& value) {
  if (std::ranges::find(job.launcher_args, name) == job.launcher_args.end()) append(words, {"--mca", name, value});
}

void append_network(Words& words, const JobSpec& job) {
  if (job.hosts.empty()) {
    append_parameter(words, job, "pml", "ob1");
    append_parameter(words, job, "btl", "self,vader");
    append_parameter(words, job, "oob_tcp_if_include", "lo");
    append_parameter(words, job, "plm", "isolated");  // else it looks for ssh
  } else if (!job.interface.empty()) {
    append_parameter(words, job, "btl_tcp_if_include", job.interface);
    append_parameter(words, job, "oob_tcp_if_include", job.interface);
  }
  if (!job.reads_memory) append_parameter(words, job, "btl_vader_single_copy_mechanism", "none");
}

bool is_plain(const std::string& word) {
  return !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("@%+=:,./-_").find(static_cast<char>(c)) != std::string_view::npos;
  });
}

}  // namespace

std::vector<std::string> mpirun_command(const JobSpec& job) {
  Words words = {"mpirun", "-n", std::to_string(job.num_ranks)};
  if (!job.hosts.empty()) append_hosts(words, job);
  const int slots = job.hosts.empty() ? job.local_slots : total_slots(job.hosts);
  if (job.num_ranks > slots) words.push_back("--oversubscribe");
  append(words, {"--bind-to", "none"});  // ranks share out a host's cores by themselves
  if (job.as_root) words.push_back("--allow-run-as-root");
  append_network(words, job);
  for (const std::string& name : job.environment) append(words, {"-x", name});
  append(words, job.launcher_args);
  append(words, job.program);
  return words;
}

std::vector<std::string> srun_command(const JobSpec& job) {
  Words words = {"srun",       "--ntasks",        std::to_string(job.num_ranks),
                 "--mpi=pmix", "--cpu-bind=none", "--kill-on-bad-exit=1"};
  if (job.num_ranks > job.local_slots) {
    words.push_back("--overcommit");
  } else if (job.cpus_per_task > 0) {
    words.push_back(fmt::format("--cpus-per-task={}", job.cpus_per_task));
  }
  if (!job.interface.empty()) {
    words.push_back("--export=ALL,OMPI_MCA_btl_tcp_if_include=" + job.interface);
  }
  append(words, job.launcher_args);
  append(words, job.program);
  return words;
}

JobSpec one_rank_a_host(JobSpec job, std::vector<std::string> program) {
  for (ClusterHost& host : job.hosts) host.slots = 1;
  job.num_ranks = static_cast<int>(job.hosts.size());
  job.hostfile.clear();
  job.program = std::move(program);
  return job;
}

std::string shell_line(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) {
    if (!line.empty()) line += ' ';
    if (is_plain(word)) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

}  // namespace octet
