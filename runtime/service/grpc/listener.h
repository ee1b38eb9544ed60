// What a service listens with: the gate that clients come through, and the gRPC server behind it.
#pragma once

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "runtime/base/address.h"
#include "runtime/base/status.h"
#include "runtime/gate/gate.h"
#include "runtime/service/grpc/server.h"
#include "runtime/service/self_check.h"

namespace octet {

// The gate takes no client any more before the server is gone.
class Listener {
 public:
  // What is asked of every request before its body is waited for: no error lets it pass. Called by the gate's thread.
  using Judge = std::function<grpc::Status(const RequestHead&)>;

  // Listens with these services, which outlive it. kInvalidInput, one line, where that fails.
  static Result<std::unique_ptr<Listener>> open(const ServerOptions& options, Judge judge,
                                                std::span<grpc::Service* const> services);
  // What is under way ends; clients are told within a moment.
  ~Listener();

  // With the port that was chosen.
  const Address& address() const { return gate_->address(); }
  // Calls on_failure, once, when nobody answers here any more.
  void watch_itself(std::function<void(const Status&)> on_failure);

 private:
  Listener() = default;

  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Gate> gate_;
  std::optional<SelfCheck> self_check_;
};

}  // namespace octet
