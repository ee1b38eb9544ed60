#include "runtime/base/out_of_memory.h"

#include <cstdlib>
#include <exception>

#include "runtime/base/host_limits.h"
#include "runtime/base/human_bytes.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

// An exception that nobody took, or a thread that nobody joined: told as everything else is. Out of memory is an end
// like others; the rest is a crash.
[[noreturn]] void end_by_exception() {
  std::string what = "no exception";
  try {
    if (const auto uncaught = std::current_exception()) std::rethrow_exception(uncaught);
  } catch (const std::bad_alloc& error) {
    const Status status = out_of_memory(error);
    log_error("{}", status.message());
    end_process(status.exit_code());
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
    what = "an exception of another kind";
  }
  log_error("terminated: {}", what);
  flush_log();
  std::abort();
}

}  // namespace

Status out_of_memory(const std::bad_alloc& error) {
  std::string line = "out of memory";
  const auto* large = dynamic_cast<const OutOfMemory*>(&error);
  if (large != nullptr)
    line += fmt::format(": {} more were asked for", megabytes(static_cast<int64_t>(large->bytes())));
  if (const auto bound = tightest_memory(KernelFiles())) {
    line += fmt::format("; {} has {} of {} left", bound->name, megabytes(bound->available), megabytes(bound->limit));
  }
  return {StatusCode::kFailed, std::move(line)};
}

void tell_uncaught_exceptions() { std::set_terminate(end_by_exception); }

}  // namespace octet
