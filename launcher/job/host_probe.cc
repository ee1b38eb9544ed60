#include "launcher/job/host_probe.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <sstream>

#include "launcher/job/child_process.h"
#include "launcher/job/launcher_output.h"

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kAnswerTime{60};  // also of a launch agent that asks a slow name service first

// Answers "octet-probe HOST_NUMBER ok|binary|model".
constexpr const char* kScript =
    R"(a=ok; [ -e "$2" ] || a=model; [ -x "$1" ] || a=binary; echo "octet-probe ${OMPI_COMM_WORLD_RANK:-0} $a")";

Status missing_binary(const std::string& host, const std::string& binary) {
  return invalid_input("host {}: {} is no program there; octet has to be at the same path on every host", host, binary);
}

Status missing_model(const std::string& host, const std::string& model) {
  return invalid_input("host {}: there is no model {}; it has to be at the same path on every host", host, model);
}

std::string host_names(const JobSpec& job) {
  std::string names;
  for (const ClusterHost& host : job.hosts) names += (names.empty() ? "" : ", ") + host.name;
  return names;
}

// Reads both streams until both end; false when that takes too long.
bool collect(const ChildProcess& child, std::string& output, std::string& errors) {
  std::array<pollfd, 2> streams = {{{child.output(), POLLIN, 0}, {child.errors(), POLLIN, 0}}};
  const std::array<std::string*, 2> texts = {&output, &errors};
  const auto deadline = Clock::now() + kAnswerTime;
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || poll(streams.data(), streams.size(), static_cast<int>(left)) <= 0) return false;
    for (size_t i = 0; i < streams.size(); ++i) {
      if (streams[i].revents != 0 && !read_some(streams[i].fd, *texts[i])) streams[i].fd = -1;
    }
  }
  return true;
}

Status read_answers(const JobSpec& job, const std::string& output, const std::string& binary,
                    const std::string& model) {
  std::istringstream lines(output);
  size_t num_answers = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string tag, answer;
    size_t host = 0;
    if (!(words >> tag >> host >> answer) || tag != "octet-probe" || host >= job.hosts.size()) continue;
    ++num_answers;
    if (answer == "binary") return missing_binary(job.hosts[host].name, binary);
    if (answer == "model") return missing_model(job.hosts[host].name, model);
  }
  if (num_answers == job.hosts.size()) return ok_status();
  return failed("only {} of the hosts {} answered", num_answers, host_names(job));
}

}  // namespace

Status probe_hosts(const JobSpec& job, const std::string& binary, const std::string& model) {
  if (job.hosts.empty()) {
    if (access(binary.c_str(), X_OK) != 0) return missing_binary("localhost", binary);
    return access(model.c_str(), F_OK) == 0 ? ok_status() : missing_model("localhost", model);
  }
  const JobSpec probe = one_rank_a_host(job, {"/bin/sh", "-c", kScript, "octet-probe", binary, model});
  OCTET_ASSIGN_OR_RETURN(ChildProcess child,
                         ChildProcess::start(mpirun_command(probe), {.no_input = true, .capture_output = true}));
  std::string output, errors;
  if (!collect(child, output, errors)) {
    return failed("hosts {}: no answer in {} s from {}", host_names(job), kAnswerTime.count(),
                  shell_line(mpirun_command(probe)));
  }
  const int status = child.wait();
  if (status != 0) {
    const std::string complaint = first_complaint(errors);
    return failed("cannot start processes on {}: {}", host_names(job),
                  complaint.empty() ? "the launcher gave no reason" : complaint);
  }
  return read_answers(job, output, binary, model);
}

}  // namespace octet
