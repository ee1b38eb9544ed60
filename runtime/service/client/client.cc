#include "runtime/service/client/client.h"

#include <grpcpp/grpcpp.h>

#include <array>
#include <cstdlib>
#include <map>
#include <optional>

#include "runtime/base/address.h"
#include "runtime/base/check.h"
#include "runtime/base/read_file.h"
#include "runtime/base/secret_file.h"
#include "runtime/service/api_key.h"
#include "runtime/service/client/client_messages.h"
#include "runtime/service/client/grpc_address.h"
#include "runtime/service/client/proxy.h"
#include "runtime/service/grpc/grpc_log.h"
#include "runtime/service/octet.grpc.pb.h"

namespace octet {
namespace {

constexpr std::chrono::seconds kUnaryDeadline{30};
constexpr int64_t kMaxPemBytes = 1 << 20;

using ReadFile = Result<std::string> (*)(const std::filesystem::path&, int64_t);

// kind: what must be in the file, "CERTIFICATE" or "PRIVATE KEY".
Result<std::string> read_pem(const std::string& path, const char* kind, ReadFile read = read_text_file) {
  OCTET_ASSIGN_OR_RETURN(std::string pem, read(path, kMaxPemBytes));
  if (pem.find(std::string(kind) + "-----") != std::string::npos) return pem;
  return invalid_input("{}: has no {} in PEM format", path, kind);
}

Result<std::shared_ptr<grpc::ChannelCredentials>> make_credentials(const ClientOptions& options) {
  if (options.tls_ca_file.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions tls;
  OCTET_ASSIGN_OR_RETURN(tls.pem_root_certs, read_pem(options.tls_ca_file, "CERTIFICATE"));
  if (!options.tls_cert_file.empty()) {
    OCTET_ASSIGN_OR_RETURN(tls.pem_cert_chain, read_pem(options.tls_cert_file, "CERTIFICATE"));
    OCTET_ASSIGN_OR_RETURN(tls.pem_private_key, read_pem(options.tls_key_file, "PRIVATE KEY", read_secret_file));
  }
  return grpc::SslCredentials(tls);
}

// A channel without a call under way is looked after every 5 s if nobody says otherwise (gRPC 1.51): a connection that
// is being made again would miss its time. What is set already stays.
void look_after_idle_channels() { setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", /*overwrite=*/0); }

// Every client has a connection of its own, which comes back soon after the server does. A server that vanished without
// a word is noticed within half a minute.
// What never leaves this machine asks no proxy, whatever the environment says.
grpc::ChannelArguments channel_arguments(const Address& address) {
  grpc::ChannelArguments arguments;
  if (address.is_local()) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetMaxReceiveMessageSize(-1);
  return arguments;
}

}  // namespace

class ServiceClient::Impl {
 public:
  Impl(const Address& address, const std::shared_ptr<grpc::Channel>& channel, const std::string& api_key)
      : server(address.text()),
        proxy_(proxy_to(address)),
        stub_(v1::Generation::NewStub(channel)),
        authorization_(api_key.empty() ? "" : "Bearer " + api_key) {}

  ~Impl() {
    for (auto& [id, stream] : streams_) stream->context.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    for (bool ok = false; queue_.Next(&tag, &ok);) continue;  // what the streams have begun ends here
  }

  // Stub's method(context, request, response).
  template <typename Method, typename Request, typename Response>
  RpcStatus call(Method method, const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kUnaryDeadline);
    authorize(context);
    return told((*stub_.*method)(&context, request, &response));
  }

  Result<StreamId> generate(const ClientCall& call, StreamCallbacks callbacks) {
    OCTET_ASSIGN_OR_RETURN(const v1::GenerateRequest request, to_message(call));
    const StreamId id = ++last_id_;
    Stream& stream = *streams_.emplace(id, std::make_unique<Stream>()).first->second;
    stream.id = id;
    stream.callbacks = std::move(callbacks);
    authorize(stream.context);
    if (call.deadline.count() > 0) stream.context.set_deadline(std::chrono::system_clock::now() + call.deadline);
    stream.reader = stub_->PrepareAsyncGenerateStream(&stream.context, request, &queue_);
    stream.reader->StartCall(&stream);
    return id;
  }

  void cancel(StreamId id) {
    if (const auto found = streams_.find(id); found != streams_.end()) found->second->context.TryCancel();
  }

  bool poll(std::chrono::milliseconds timeout) {
    void* tag = nullptr;
    bool ok = false;
    const auto deadline = std::chrono::system_clock::now() + timeout;
    if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return false;
    advance(*static_cast<Stream*>(tag), ok);
    return true;
  }

  size_t num_streams() const { return streams_.size(); }

  const std::string server;

 private:
  // One operation of a stream is under way at any time; the stream is its tag.
  struct Stream {
    StreamId id = 0;
    StreamCallbacks callbacks;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncReader<v1::GenerateChunk>> reader;
    v1::GenerateChunk message;
    grpc::Status status;
    enum class State { kStarting, kReading, kFinishing } state = State::kStarting;
  };

  // A service that cannot be reached may be the proxy's fault.
  RpcStatus told(const grpc::Status& status) const {
    RpcStatus told = from_grpc(status, server);
    if (proxy_ && told.code == RpcCode::kUnavailable) {
      told.status = {told.status.code(),
                     fmt::format("{} (asked through the proxy {} of {}; a host that no_proxy lists is asked directly)",
                                 told.status.message(), proxy_->url, proxy_->variable)};
    }
    return told;
  }

  void authorize(grpc::ClientContext& context) const {
    if (!authorization_.empty()) context.AddMetadata("authorization", authorization_);
  }

  // The stream's operation is over.
  void advance(Stream& stream, bool ok) {
    if (stream.state == Stream::State::kFinishing) {
      const auto ended = streams_.extract(stream.id);
      stream.callbacks.on_end(told(stream.status));
      return;
    }
    if (!ok) {
      stream.state = Stream::State::kFinishing;
      stream.reader->Finish(&stream.status, &stream);
      return;
    }
    const bool has_chunk = stream.state == Stream::State::kReading;
    const ReceivedChunk chunk = has_chunk ? from_message(stream.message) : ReceivedChunk{};
    stream.state = Stream::State::kReading;
    stream.reader->Read(&stream.message, &stream);
    if (has_chunk) stream.callbacks.on_chunk(chunk);
  }

  const std::optional<Proxy> proxy_;
  const std::unique_ptr<v1::Generation::Stub> stub_;
  const std::string authorization_;
  grpc::CompletionQueue queue_;
  std::map<StreamId, std::unique_ptr<Stream>> streams_;
  StreamId last_id_ = 0;
};

Result<std::unique_ptr<ServiceClient>> ServiceClient::create(const ClientOptions& options) {
  look_after_idle_channels();
  quiet_grpc();
  auto address = parse_server_address(options.server);
  if (!address.ok()) return invalid_input("--server {}", address.status().message());
  std::string api_key;
  if (!options.api_key_file.empty()) {
    if (options.tls_ca_file.empty() && !options.insecure_key && !address->is_local()) {
      return invalid_input(
          "{}: the key would go there in clear, for everyone on the way to read: --tls-ca encrypts, --insecure-key "
          "sends it all the same",
          address->text());
    }
    OCTET_ASSIGN_OR_RETURN(api_key, read_api_key(options.api_key_file));
  }
  OCTET_ASSIGN_OR_RETURN(const auto credentials, make_credentials(options));
  const auto channel = grpc::CreateCustomChannel(grpc_target(*address), credentials, channel_arguments(*address));
  return std::unique_ptr<ServiceClient>(new ServiceClient(std::make_unique<Impl>(*address, channel, api_key)));
}

ServiceClient::ServiceClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ServiceClient::~ServiceClient() = default;

const std::string& ServiceClient::server() const { return impl_->server; }

RpcStatus ServiceClient::get_model_info(const std::string& model, ServedModelInfo& info) {
  v1::GetModelInfoRequest request;
  request.set_model(model);
  v1::ModelInfo message;
  const RpcStatus status = impl_->call(&v1::Generation::Stub::GetModelInfo, request, message);
  if (status.ok()) info = from_message(message);
  return status;
}

RpcStatus ServiceClient::get_serving_info(ServingInfo& info) {
  v1::ServerInfo message;
  const RpcStatus status = impl_->call(&v1::Generation::Stub::GetServerInfo, v1::GetServerInfoRequest(), message);
  if (status.ok()) info = from_message(message);
  return status;
}

RpcStatus ServiceClient::tokenize(const PromptSource& source, std::vector<TokenId>& ids) {
  v1::TokenizeResponse message;
  const RpcStatus status = impl_->call(&v1::Generation::Stub::Tokenize, to_tokenize_message(source), message);
  if (status.ok()) ids.assign(message.ids().begin(), message.ids().end());
  return status;
}

RpcStatus ServiceClient::abort(const std::string& request_id) {
  v1::AbortRequest request;
  request.set_request_id(request_id);
  v1::AbortResponse response;
  return impl_->call(&v1::Generation::Stub::Abort, request, response);
}

Result<ServiceClient::StreamId> ServiceClient::generate(const ClientCall& call, StreamCallbacks callbacks) {
  return impl_->generate(call, std::move(callbacks));
}

void ServiceClient::cancel(StreamId id) { impl_->cancel(id); }
bool ServiceClient::poll(std::chrono::milliseconds timeout) { return impl_->poll(timeout); }
size_t ServiceClient::num_streams() const { return impl_->num_streams(); }

std::string_view rpc_code_name(RpcCode code) {
  static constexpr std::array<std::string_view, 17> kNames{
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return kNames.at(static_cast<size_t>(code));
}

}  // namespace octet
