#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "comm/mpi_raw.h"
#include "launcher/checkup/checkup.h"
#include "launcher/job/child_process.h"

namespace octet {
namespace {

// The first line that a program prints when asked for its version; nothing where there is no such program.
std::optional<std::string> version_of(const std::string& program, const char* flag) {
  auto child = ChildProcess::start({program, flag}, {.no_input = true, .capture_output = true});
  if (!child.ok()) return std::nullopt;
  std::string text;
  while (read_some(child->output(), text)) {
  }
  if (child->wait() != 0) return std::nullopt;
  return text.substr(0, text.find('\n'));
}

// "Open MPI v4.1.4, package: …" → "4.1.4"; "mpirun (Open MPI) 4.1.4" → "4.1.4".
std::string version_number(const std::string& text) {
  const size_t begin = text.find_first_of("0123456789");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_first_not_of("0123456789.", begin) - begin);
}

Findings mpi() {
  const std::string library = mpi_library_version();
  const std::string name = library.substr(0, library.find_first_of(",\n"));
  Findings findings = {{.topic = "MPI", .text = name, .facts = {{"library", name}}}};
  const auto mpirun = version_of("mpirun", "--version");
  Finding launcher{.topic = "mpirun", .text = mpirun.value_or("not in $PATH"), .facts = {{"version", nullptr}}};
  if (!mpirun) {
    launcher.grade = Grade::kMissing;
    launcher.remedy = "octet run needs it: apt-get install openmpi-bin";
  } else {
    launcher.facts["version"] = version_number(*mpirun);
    if (version_number(*mpirun) != version_number(name)) {
      launcher.grade = Grade::kHint;
      launcher.remedy = fmt::format("it is not of {}: put that one's mpirun first in $PATH", name);
    }
  }
  findings.push_back(std::move(launcher));
  return findings;
}

// Reads a number out of its parent's memory, as ranks of one host read each other's messages; 0: it can.
int read_from_parent(const volatile int& number, pid_t parent) {
  int copy = 0;
  const iovec here{&copy, sizeof(copy)};
  const iovec there{const_cast<int*>(&number), sizeof(number)};
  if (process_vm_readv(parent, &here, 1, &there, 1, 0) != sizeof(copy)) return errno;
  return copy == number ? 0 : EIO;
}

// Open MPI's shared memory transport copies long messages once (CMA) where the kernel lets it, else twice. Like that
// transport, the parent permits its child by prctl.
Finding single_copy() {
  const volatile int number = static_cast<int>(getpid());
  const pid_t parent = getpid();
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  const pid_t child = fork();
  if (child == 0) _exit(read_from_parent(number, parent));
  int status = 0;
  if (child > 0) waitpid(child, &status, 0);
  prctl(PR_SET_PTRACER, 0, 0, 0, 0);
  const bool works = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  Finding finding{.topic = "single copy",
                  .text = "processes can read each other's memory (CMA): a message is copied once",
                  .facts = {{"cma", works}}};
  if (!works) {
    const char* why = child > 0 && WIFEXITED(status) ? std::strerror(WEXITSTATUS(status)) : "no child";
    finding.grade = Grade::kHint;
    finding.text = fmt::format("processes cannot read each other's memory ({}): messages are copied twice", why);
    finding.remedy =
        "/proc/sys/kernel/yama/ptrace_scope below 2; in a container --cap-add SYS_PTRACE and one user namespace";
  }
  return finding;
}

// Slurm itself, where it is; other clusters do without.
std::optional<Finding> slurm() {
  const auto version = version_of("srun", "--version");
  if (!version) return std::nullopt;
  return Finding{.topic = "Slurm",
                 .text = *version,
                 .remedy = "its ranks meet by PMIx: srun --mpi=list has to name pmix",
                 .facts = {{"version", version_number(*version)}}};
}

}  // namespace

Findings check_ranks() {
  Findings findings = mpi();
  findings.push_back(single_copy());
  if (auto finding = slurm()) findings.push_back(std::move(*finding));
  return findings;
}

}  // namespace octet
