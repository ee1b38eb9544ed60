#include "runtime/service/self_check.h"

#include "runtime/base/log.h"
#include "runtime/base/stop_wait.h"
#include "runtime/gate/probe.h"

namespace octet {
namespace {

constexpr int kMaxFailures = 3;

}  // namespace

SelfCheck::SelfCheck(const Address& address, std::function<void(const Status&)> on_failure)
    : SelfCheck(address, std::move(on_failure), Times()) {}

SelfCheck::SelfCheck(const Address& address, std::function<void(const Status&)> on_failure, Times times)
    : thread_([address, on_failure = std::move(on_failure), times](const std::stop_token& stop) {
        int failures = 0;
        while (!stops_within(stop, times.interval)) {
          const Status status = probe_http2(address, times.patience, stop);
          failures = status.ok() ? 0 : failures + 1;
          if (stop.stop_requested()) return;
          if (status.ok()) continue;
          log_warning("the service does not reach itself: {}", status.message());
          if (failures < kMaxFailures) continue;
          return on_failure(failed("the service is not to be reached at its own address: {}", status.message()));
        }
      }) {}

}  // namespace octet
