#include "runtime/service/listener.h"

#include <grpcpp/support/server_interceptor.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/service/credentials.h"
#include "runtime/service/grpc_log.h"
#include "runtime/service/rpc_status.h"

namespace octet {
namespace {

constexpr int kKeepaliveMs = 20'000;  // between two looks whether a silent client is still there
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kShortestClientPingMs = 5'000;

// A message that cannot be parsed reaches no handler; gRPC's callback API then says that the method is not implemented.
class MalformedMessages final : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = methods->GetSendStatus();
      if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED && status.error_message().empty()) {
        methods->ModifySendStatus(rpc_error(grpc::StatusCode::INTERNAL, "the bytes are no message of this method"));
      }
    }
    methods->Proceed();
  }
};

class MalformedMessagesFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo*) override {
    return new MalformedMessages;
  }
};

// Why nobody can listen there; empty if one can.
std::string why_not(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return "is not HOST:PORT";
  const std::string host = address.substr(0, colon), port = address.substr(colon + 1);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) return gai_strerror(error);
  const int descriptor = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int reuse = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
  const bool free = bind(descriptor, found->ai_addr, found->ai_addrlen) == 0;
  std::string why = free ? "" : std::strerror(errno);
  close(descriptor);
  freeaddrinfo(found);
  return why;
}

void set_up(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.limits.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // two services on one port would share its clients
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kShortestClientPingMs);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<MalformedMessagesFactory>());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
}

}  // namespace

Result<Listener> listen(const ServerOptions& options, std::span<grpc::Service* const> services) {
  quiet_grpc();  // what clients send wrong is told to them
  OCTET_ASSIGN_OR_RETURN(const auto credentials, make_credentials(options));
  grpc::ServerBuilder builder;
  set_up(options, builder);
  int port = 0;
  builder.AddListeningPort(options.listen, credentials, &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  Listener listener;
  listener.server = builder.BuildAndStart();
  if (listener.server == nullptr || port == 0) {
    const std::string why = why_not(options.listen);
    if (!why.empty()) return invalid_input("--listen {}: {}", options.listen, why);
    return invalid_input("--tls-cert {}, --tls-key {}: not a certificate and its key", options.tls_cert,
                         options.tls_key);
  }
  listener.address = options.listen.substr(0, options.listen.rfind(':') + 1) + std::to_string(port);
  return listener;
}

}  // namespace octet
