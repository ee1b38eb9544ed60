#include "comm/comm_world.h"

#include <utility>

#include "runtime/base/log.h"

namespace octet {

void CommWorld::set_failure_handler(std::function<void(const Status&)> handler) {
  failure_handler_ = std::move(handler);
}

void CommWorld::fail(const Status& status) {
  if (failure_handler_) failure_handler_(status);
  log_error("rank {} (host {}): {}", rank(), host_name(), status.message());
  end_process(status.exit_code());
}

}  // namespace octet
