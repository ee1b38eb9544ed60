#include "runtime/service/grpc/listener.h"

#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/support/server_interceptor.h>

#include <utility>

#include "runtime/service/grpc/generation_methods.h"
#include "runtime/service/grpc/grpc_log.h"
#include "runtime/service/grpc/rpc_status.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

constexpr int kKeepaliveMs = 20'000;  // between two looks whether a silent client is still there
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kShortestClientPingMs = 5'000;
constexpr int kIdleMs = 300'000;           // of a connection without calls, before it is closed
constexpr int kMaxHeaderBytes = 16 << 10;  // the gate's own bound is smaller
constexpr milliseconds kGoodbye{100};      // for connections to close, once nothing is under way

// A message that cannot be parsed reaches no handler; gRPC's callback API then says that the method is not implemented.
class MalformedMessages final : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = methods->GetSendStatus();
      if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED && status.error_message().empty()) {
        methods->ModifySendStatus(not_a_message());
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

FilterOptions filter_options(const ServerOptions& options, Listener::Judge judge) {
  FilterOptions filter;
  filter.max_message_bytes = [most = static_cast<size_t>(options.limits.max_message_bytes)](std::string_view path) {
    return GenerationMethods::max_message_bytes(path, most);
  };
  filter.judge = [judge = std::move(judge)](const RequestHead& head) -> std::optional<Refusal> {
    const grpc::Status status = judge(head);
    if (status.ok()) return std::nullopt;
    return Refusal{status.error_code(), status.error_message(), status.error_details()};
  };
  return filter;
}

void set_up(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.limits.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxHeaderBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(FilterOptions().max_streams));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // it would ask for larger frames than the gate takes
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kShortestClientPingMs);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<MalformedMessagesFactory>());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::open(const ServerOptions& options, Judge judge,
                                                 std::span<grpc::Service* const> services) {
  quiet_grpc();  // what clients send wrong is told to them
  auto address = parse_listen_address(options.listen);
  if (!address.ok()) return invalid_input("--listen {}", address.status().message());
  auto listener = std::unique_ptr<Listener>(new Listener);
  OCTET_ASSIGN_OR_RETURN(
      listener->gate_,
      Gate::open(
          {.listen = *std::move(address),
           .tls = {.certificate = options.tls_cert, .key = options.tls_key, .client_authority = options.tls_client_ca},
           .max_connections = options.limits.max_connections,
           .filter = filter_options(options, std::move(judge))}));
  grpc::ServerBuilder builder;
  set_up(options, builder);
  listener->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, grpc::InsecureServerCredentials());
  for (grpc::Service* service : services) builder.RegisterService(service);
  listener->server_ = builder.BuildAndStart();
  if (listener->server_ == nullptr) return failed("gRPC's server could not be started");
  listener->gate_->start([&acceptor = *listener->acceptor_](int descriptor) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = descriptor;
    acceptor.HandleNewConnection(&connection);
  });
  return listener;
}

void Listener::watch_itself(std::function<void(const Status&)> on_failure) {
  self_check_.emplace(address(), std::move(on_failure));
}

Listener::~Listener() {
  self_check_.reset();
  if (gate_ == nullptr) return;  // it could not be opened
  gate_->stop_listening();
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now() + kGoodbye);
  gate_->wait_until_empty(kGoodbye);
  gate_.reset();
}

}  // namespace octet
