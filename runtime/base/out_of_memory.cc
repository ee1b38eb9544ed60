#include "runtime/base/out_of_memory.h"

#include <unistd.h>

#include <cstdlib>
#include <exception>

#include "runtime/base/host_limits.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

std::string megabytes(int64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

[[noreturn]] void end_process() {
  const std::exception_ptr uncaught = std::current_exception();
  try {
    if (uncaught) std::rethrow_exception(uncaught);
  } catch (const std::bad_alloc& error) {
    const Status status = out_of_memory(error);
    log_error("{}", status.message());
    _exit(status.exit_code());
  } catch (const std::exception& error) {
    log_error("an exception that nobody expected: {}", error.what());
  } catch (...) {
  }
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

void end_when_out_of_memory() { std::set_terminate(end_process); }

}  // namespace octet
