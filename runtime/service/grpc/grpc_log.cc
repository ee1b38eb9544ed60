#include "runtime/service/grpc/grpc_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <mutex>

#include "runtime/base/log.h"

namespace octet {

void quiet_grpc() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function([](gpr_log_func_args* args) { log_debug("gRPC: {}", args->message); });
    google::protobuf::SetLogHandler(nullptr);
  });
}

}  // namespace octet
