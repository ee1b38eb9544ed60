#include "runtime/service/listener.h"

#include <grpcpp/support/server_interceptor.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "runtime/service/credentials.h"
#include "runtime/service/grpc_address.h"
#include "runtime/service/grpc_log.h"
#include "runtime/service/rpc_status.h"
#include "runtime/service/socket_file.h"

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
std::string why_not(const Address& address) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  const std::string port = std::to_string(address.port);
  if (const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return gai_strerror(error);
  }
  std::string why;
  for (const addrinfo* place = found; place != nullptr && why.empty(); place = place->ai_next) {
    const int descriptor = socket(place->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int reuse = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
    if (bind(descriptor, place->ai_addr, place->ai_addrlen) != 0) why = std::strerror(errno);
    close(descriptor);
  }
  freeaddrinfo(found);
  return why;
}

Status cannot_listen(const ServerOptions& options, const Address& address) {
  const std::string why = address.is_unix() ? "" : why_not(address);
  if (why.empty() && !options.tls_cert.empty()) {
    return invalid_input("--tls-cert {}, --tls-key {}: not a certificate and its key", options.tls_cert,
                         options.tls_key);
  }
  return invalid_input("--listen {}: {}", address.text(), why.empty() ? "gRPC cannot listen there" : why);
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
  auto address = parse_listen_address(options.listen);
  if (!address.ok()) return invalid_input("--listen {}", address.status().message());
  Listener listener;
  OCTET_ASSIGN_OR_RETURN(listener.credentials, make_credentials(options));
  std::optional<SocketFile> socket_file;  // until gRPC has made it
  if (address->is_unix()) {
    auto claimed = SocketFile::claim(address->socket_file);
    if (!claimed.ok()) return invalid_input("--listen {}: {}", address->text(), claimed.status().message());
    socket_file.emplace(*std::move(claimed));
  }
  grpc::ServerBuilder builder;
  set_up(options, builder);
  int port = 0;
  builder.AddListeningPort(grpc_target(*address), listener.credentials, &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  listener.server = builder.BuildAndStart();
  if (listener.server == nullptr || port == 0) return cannot_listen(options, *address);
  if (!address->is_unix()) address->port = static_cast<uint16_t>(port);
  listener.address = *std::move(address);
  return listener;
}

}  // namespace octet
