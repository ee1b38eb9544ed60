#include "runtime/service/grpc/call_deadline.h"

#include <grpc/support/time.h>

namespace octet {

std::chrono::steady_clock::time_point call_deadline(const grpc::CallbackServerContext& context) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kForEver = int64_t{365} * 24 * 3600;  // seconds; a clock of nanoseconds ends after 292 years
  const gpr_timespec deadline = context.raw_deadline();
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  if (left.tv_sec >= kForEver) return Clock::time_point::max();
  if (left.tv_sec <= -kForEver) return Clock::now();
  return Clock::now() + std::chrono::seconds(left.tv_sec) + std::chrono::nanoseconds(left.tv_nsec);
}

}  // namespace octet
