// GenerationService: octet.v1.Generation on one engine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "runtime/service/grpc/call_registry.h"
#include "runtime/service/grpc/engine_thread.h"
#include "runtime/service/grpc/generation_methods.h"
#include "runtime/service/grpc/generation_rpc.h"
#include "runtime/service/grpc/open_rpcs.h"
#include "runtime/service/metrics/model_metrics.h"
#include "runtime/service/metrics/service_metrics.h"
#include "runtime/service/octet.grpc.pb.h"
#include "runtime/service/served_model.h"
#include "runtime/service/service_limits.h"
#include "runtime/service/work_queue.h"

namespace octet {

// The life of a service: it loads, serves, and then either drains or has failed.
enum class ServiceState { kLoading, kServing, kDraining, kFailed };

struct ServiceFacts {
  ServedModel model;
  ServiceLimits limits;
  std::shared_ptr<Tenants> tenants = std::make_shared<Tenants>();  // who may call
  std::string version;
};

// gRPC calls the handlers from its threads; the other functions may be called by any thread, too.
class GenerationService final : public GenerationMethods, public EngineObserver {
 public:
  // The metrics outlive it. on_engine_failure: called once, by the engine's thread, if the model fails.
  GenerationService(ServiceFacts facts, ServiceMetrics& metrics, std::function<void(const Status&)> on_engine_failure);

  // Calls go to this engine, which outlives them. Leaves kLoading.
  void serve(EngineThread& engine);
  // No new calls; those under way go on.
  void drain();
  // Those still under way, so long after drain(), end now; what their clients have they can resume.
  void end_drain(std::chrono::milliseconds limit);
  // No new calls, and those under way end now.
  void fail(const std::string& why);

  ServiceState state() const { return state_.load(); }
  const ServiceFacts& facts() const { return facts_; }
  void on_step(const StepFacts& facts, const EngineStats& stats) override;
  void on_token(GenerationCall& call, const TokenEvent& event) override;
  void on_sample(const GenerationCall& call, const FinishEvent& event) override;
  void on_failure(const Status& status) override;

  CallRegistry& calls() { return calls_; }
  OpenRpcs& rpcs() { return rpcs_; }

  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context, const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;
  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context, const v1::AbortRequest* request,
                                  v1::AbortResponse* response) override;

 private:
  grpc::ServerUnaryReactor* generate(grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                                     v1::GenerateResponse& response) override;
  grpc::ServerWriteReactor<v1::GenerateChunk>* generate_stream(grpc::CallbackServerContext& context,
                                                               const grpc::ByteBuffer& request) override;
  grpc::ServerUnaryReactor* tokenize(grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                                     v1::TokenizeResponse& response) override;
  grpc::ServerUnaryReactor* detokenize(grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                                       v1::DetokenizeResponse& response) override;

  // UNAUTHENTICATED where the caller's key is not known; else `caller` is who it is.
  grpc::Status identify(const grpc::CallbackServerContext& context, Caller& caller) const;
  // Counts a request of the tenant, or says why it may have none now.
  grpc::Status take_request(Tenant& tenant);
  grpc::Status check_loaded() const;
  grpc::Status check_model(const std::string& name) const;
  // What can be said before a request is read, and after.
  grpc::Status check_call(const grpc::CallbackServerContext& context, Caller& caller);
  grpc::Status check_request(const v1::GenerateRequest& request) const;
  // A parsed request within its tenant's policy.
  Status apply_policy(Tenant& tenant, GenerationJob& job);
  // Takes a generating RPC: errors end it, else its request is read and parsed and goes to the engine. A large one is
  // read when its turn comes among those that wait to be parsed.
  template <typename Rpc>
  Rpc* take(grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes, std::shared_ptr<Rpc> rpc);
  // Makes the call of a request that it reads; null where the RPC has ended instead.
  template <typename Rpc>
  std::shared_ptr<GenerationCall> begin_call(const grpc::CallbackServerContext& context, const Caller& caller,
                                             const grpc::ByteBuffer& bytes, v1::GenerateRequest& request,
                                             const std::shared_ptr<Rpc>& rpc);
  // Ends an RPC that never became a call.
  void refuse(ResponseSink& rpc, const std::string& request_id, const grpc::Status& status);
  void parse(const std::shared_ptr<GenerationCall>& call, const v1::GenerateRequest& request);
  std::shared_ptr<GenerationCall> make_call(const grpc::CallbackServerContext& context, const Caller& caller,
                                            const std::string& request_id, std::shared_ptr<ResponseSink> sink);
  void on_end(const GenerationCall& call, const grpc::Status& status);
  RpcContext rpc_context(grpc::CallbackServerContext& context) {
    return {context, rpcs_, facts_.limits.max_outbox_bytes};
  }
  // Reads the request and does `work` with it, which may take a while and fills the response, on another thread, and
  // ends the RPC with its status.
  template <typename Request, typename Response, typename Work>
  grpc::ServerUnaryReactor* run_later(grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes,
                                      Response& response, Work work);

  const ServiceFacts facts_;
  ServiceMetrics& metrics_;
  ModelMetrics model_metrics_;
  const std::function<void(const Status&)> on_engine_failure_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::atomic<ServiceState> state_ = ServiceState::kLoading;
  std::atomic<EngineThread*> engine_ = nullptr;
  CallRegistry calls_;
  OpenRpcs rpcs_;
  WorkQueue parsing_;   // of generating requests
  WorkQueue encoding_;  // Tokenize and Detokenize, which no generating request waits for
};

}  // namespace octet
