// Looks at the hosts of a job before it starts: can ranks be started there, and do they find what they need?
#pragma once

#include <string>

#include "launcher/job/mpirun_command.h"

namespace octet {

// Through the launch agent that will start the job, one process a host; on this host, where the job names none, by the
// file system. `model` may be relative to the working directory, as for the ranks. kInvalidInput names the host and
// what is missing there; kFailed: hosts where nothing can be started, or that did not answer.
Status probe_hosts(const JobSpec& job, const std::string& binary, const std::string& model);

}  // namespace octet
