// A session for a command: what it tells goes to a terminal and to `octet run`.
#pragma once

#include <functional>
#include <memory>

#include "launcher/model_flags.h"
#include "runtime/session/session.h"

namespace octet {

// Opens the model that the flags name, as this rank of the job. on_job_failure: of a job of several ranks, called once
// on a failure, in a thread of its own, just before the process ends.
Result<std::unique_ptr<Session>> open_session(const ModelFlags& flags, const SessionNeeds& needs = {},
                                              std::function<void(const JobFailure&)> on_job_failure = {});

}  // namespace octet
