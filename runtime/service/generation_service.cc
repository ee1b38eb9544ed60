#include "runtime/service/generation_service.h"

#include <random>

#include "runtime/base/log.h"
#include "runtime/base/quote.h"
#include "runtime/service/api_key.h"
#include "runtime/service/call_deadline.h"
#include "runtime/service/prompt_parser.h"
#include "runtime/service/rpc_status.h"
#include "runtime/service/service_info.h"

namespace octet {
namespace {

using RpcCode = grpc::StatusCode;
using std::chrono::milliseconds;

constexpr size_t kMaxRequestIdBytes = 128;
constexpr milliseconds kRetryWhileFull{500};
constexpr milliseconds kRetryWhileLoading{2'000};
constexpr int kParsers = 2;

double seconds_between(GenerationCall::Clock::time_point from, GenerationCall::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::string failure_reason(RpcCode code) {
  switch (code) {
    case RpcCode::INVALID_ARGUMENT:
      return "invalid_argument";
    case RpcCode::NOT_FOUND:
      return "not_found";
    case RpcCode::ALREADY_EXISTS:
      return "already_exists";
    case RpcCode::RESOURCE_EXHAUSTED:
      return "resource_exhausted";
    case RpcCode::FAILED_PRECONDITION:
      return "failed_precondition";
    case RpcCode::UNAVAILABLE:
      return "unavailable";
    case RpcCode::UNAUTHENTICATED:
      return "unauthenticated";
    case RpcCode::DEADLINE_EXCEEDED:
      return "deadline_exceeded";
    case RpcCode::CANCELLED:
      return "cancelled";
    default:
      return "internal";
  }
}

v1::ServerInfo::State to_proto(ServiceState state) {
  switch (state) {
    case ServiceState::kLoading:
      return v1::ServerInfo::STATE_LOADING;
    case ServiceState::kServing:
      return v1::ServerInfo::STATE_SERVING;
    case ServiceState::kDraining:
    case ServiceState::kFailed:
      return v1::ServerInfo::STATE_DRAINING;
  }
  return v1::ServerInfo::STATE_UNSPECIFIED;
}

}  // namespace

GenerationService::GenerationService(ServiceFacts facts, ServiceMetrics& metrics,
                                     std::function<void(const Status&)> on_engine_failure)
    : facts_(std::move(facts)),
      metrics_(metrics),
      model_metrics_(*metrics.registry(), facts_.model.experts_of_place),
      on_engine_failure_(std::move(on_engine_failure)),
      calls_(facts_.model.engine.max_batch + facts_.limits.max_queue),
      work_(kParsers) {}

void GenerationService::serve(EngineThread& engine) {
  engine_ = &engine;
  auto loading = ServiceState::kLoading;
  state_.compare_exchange_strong(loading, ServiceState::kServing);
}

void GenerationService::drain() {
  state_ = ServiceState::kDraining;
  calls_.close(rpc_error(RpcCode::UNAVAILABLE, "the server is draining: it takes no new requests"));
}

void GenerationService::fail(const std::string& why) {
  state_ = ServiceState::kFailed;
  const grpc::Status status = rpc_error(RpcCode::UNAVAILABLE, why);
  calls_.close(status);
  calls_.end_all(status);
}

void GenerationService::on_step(const StepFacts& facts, const EngineStats& stats) {
  metrics_.on_step(facts, stats);
  if (facts.totals != nullptr) model_metrics_.update(*facts.totals);
}

void GenerationService::on_token(GenerationCall& call, const TokenEvent& event) {
  const auto now = GenerationCall::Clock::now();
  const auto before = call.note_token(event.id.sample, now);
  if (before) {
    metrics_.on_inter_token(seconds_between(*before, now));
  } else {
    metrics_.on_first_token(seconds_between(call.arrival(), now));
  }
}

void GenerationService::on_sample(const GenerationCall& call, const FinishEvent& event) {
  const auto now = GenerationCall::Clock::now();
  log_info("request={} sample={} finish={} prompt_tokens={} output_tokens={} cached_tokens={} preemptions={} s={:.3f}",
           call.request_id(), event.id.sample, finish_reason_name(event.reason), event.num_prompt_tokens,
           event.num_output_tokens, event.num_cached_tokens, event.num_preemptions,
           seconds_between(call.arrival(), now));
  const bool succeeded = event.reason != FinishReason::kCancelled && event.reason != FinishReason::kError;
  if (succeeded) metrics_.on_sample(event, seconds_between(call.arrival(), now));
}

void GenerationService::on_failure(const Status& status) {
  fail(status.message());
  on_engine_failure_(status);
}

grpc::Status GenerationService::check_key(const grpc::CallbackServerContext& context) const {
  return has_api_key(context, facts_.api_key) ? grpc::Status::OK : missing_key();
}

// Whether calls may come: the registry knows why not once it is closed.
grpc::Status GenerationService::check_loaded() const {
  if (state() != ServiceState::kLoading) return grpc::Status::OK;
  return rpc_retry(RpcCode::FAILED_PRECONDITION, "the model is still being loaded", kRetryWhileLoading);
}

grpc::Status GenerationService::check_model(const std::string& name) const {
  if (name.empty() || name == facts_.model.name) return grpc::Status::OK;
  return rpc_error(RpcCode::NOT_FOUND,
                   fmt::format("model: {} is not served here, {} is", quote(name), quote(facts_.model.name)));
}

grpc::Status GenerationService::check_generate(const grpc::CallbackServerContext& context,
                                               const v1::GenerateRequest& request) const {
  if (auto status = check_key(context); !status.ok()) return status;
  if (auto status = check_loaded(); !status.ok()) return status;
  if (call_deadline(context) <= GenerationCall::Clock::now()) {
    return rpc_error(RpcCode::DEADLINE_EXCEEDED, "the deadline had passed on arrival");
  }
  if (auto status = check_model(request.model()); !status.ok()) return status;
  if (request.request_id().size() > kMaxRequestIdBytes) {
    return rpc_bad_field("request_id",
                         fmt::format("{} bytes are more than {}", request.request_id().size(), kMaxRequestIdBytes));
  }
  return grpc::Status::OK;
}

std::shared_ptr<GenerationCall> GenerationService::make_call(const grpc::CallbackServerContext& context,
                                                             const std::string& request_id,
                                                             std::shared_ptr<ResponseSink> sink) {
  std::string id = request_id.empty() ? fmt::format("octet-{}", next_id_++) : request_id;
  return std::make_shared<GenerationCall>(
      std::move(id), call_deadline(context), std::move(sink),
      [this](const GenerationCall& call, const grpc::Status& status) { on_end(call, status); });
}

template <typename Rpc>
Rpc* GenerationService::take(grpc::CallbackServerContext& context, const v1::GenerateRequest& request,
                             std::shared_ptr<Rpc> rpc) {
  grpc::Status status = check_generate(context, request);
  std::shared_ptr<GenerationCall> call;
  if (status.ok()) {
    call = make_call(context, request.request_id(), rpc);
    status = calls_.add(call);
  }
  if (!status.ok()) {
    metrics_.on_failure(failure_reason(status.error_code()));
    log_debug("request={} refused: {}", quote(request.request_id()), status.error_message());
    rpc->finish(status);
    return rpc.get();
  }
  rpc->set_call(call);
  // gRPC keeps the request no longer than the RPC, which may end while it is parsed.
  work_.post([this, call, copy = request] { parse(call, copy); });
  return rpc.get();
}

void GenerationService::parse(const std::shared_ptr<GenerationCall>& call, const v1::GenerateRequest& request) {
  if (call->ended()) return;
  auto job = parse_generate(request, facts_.model, facts_.limits);
  const Status status = job.ok() ? call->set_job(*std::move(job), facts_.model) : job.status();
  if (!status.ok()) {
    call->end(rpc_status(status));
    return;
  }
  engine_.load()->submit(call);
}

void GenerationService::on_end(const GenerationCall& call, const grpc::Status& status) {
  calls_.remove(call);
  if (status.ok()) return;
  metrics_.on_failure(failure_reason(status.error_code()));
  log_info("request={} failed: {} {}", call.request_id(), failure_reason(status.error_code()), status.error_message());
}

grpc::ServerUnaryReactor* GenerationService::Generate(grpc::CallbackServerContext* context,
                                                      const v1::GenerateRequest* request,
                                                      v1::GenerateResponse* response) {
  return take(*context, *request, UnaryRpc::create(rpc_context(*context), *response));
}

grpc::ServerWriteReactor<v1::GenerateChunk>* GenerationService::GenerateStream(grpc::CallbackServerContext* context,
                                                                               const v1::GenerateRequest* request) {
  return take(*context, *request, StreamRpc::create(rpc_context(*context)));
}

template <typename Work>
grpc::ServerUnaryReactor* GenerationService::run_later(grpc::CallbackServerContext& context, const std::string& model,
                                                       Work work) {
  grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
  grpc::Status status = check_key(context);
  if (status.ok()) status = check_model(model);
  if (status.ok() && std::ssize(work_) >= facts_.limits.max_queue) {
    status = rpc_retry(RpcCode::RESOURCE_EXHAUSTED, "too many requests wait to be read", kRetryWhileFull);
  }
  if (status.ok()) {
    work_.post([reactor, work] { reactor->Finish(rpc_status(work())); });
  } else {
    reactor->Finish(status);
  }
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(grpc::CallbackServerContext* context,
                                                      const v1::TokenizeRequest* request,
                                                      v1::TokenizeResponse* response) {
  return run_later(*context, request->model(), [this, request, response] {
    OCTET_ASSIGN_OR_RETURN(const ParsedPrompt prompt, parse_prompt(*request, facts_.model, facts_.limits));
    for (const TokenId id : prompt.ids) response->add_pieces(std::string(facts_.model.tokenizer->piece(id)));
    response->mutable_ids()->Add(prompt.ids.begin(), prompt.ids.end());
    return ok_status();
  });
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(grpc::CallbackServerContext* context,
                                                        const v1::DetokenizeRequest* request,
                                                        v1::DetokenizeResponse* response) {
  return run_later(*context, request->model(), [this, request, response] {
    OCTET_ASSIGN_OR_RETURN(std::string text, parse_detokenize(*request, facts_.model));
    response->set_text(std::move(text));
    return ok_status();
  });
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetModelInfoRequest* request,
                                                          v1::ModelInfo* response) {
  grpc::Status status = check_key(*context);
  if (status.ok()) status = check_model(request->model());
  if (status.ok()) fill_model_info(facts_.model, *response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::GetServerInfo(grpc::CallbackServerContext* context,
                                                           const v1::GetServerInfoRequest*, v1::ServerInfo* response) {
  const grpc::Status status = check_key(*context);
  if (status.ok()) {
    response->set_version(facts_.version);
    response->set_state(to_proto(state()));
    response->set_device(facts_.model.device);
    fill_layout(facts_.model.topology, *response->mutable_layout());
    fill_limits(facts_.model, facts_.limits, *response->mutable_limits());
    const EngineThread* engine = engine_.load();
    const EngineStats stats = engine == nullptr ? EngineStats() : engine->stats();
    fill_load(stats, *response->mutable_load());
    fill_step_seconds(stats.seconds, *response->mutable_step_seconds());
    response->set_uptime_seconds(seconds_between(started_, std::chrono::steady_clock::now()));
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::Abort(grpc::CallbackServerContext* context,
                                                   const v1::AbortRequest* request, v1::AbortResponse*) {
  const grpc::Status status = check_key(*context);
  if (status.ok()) {
    if (const auto call = calls_.find(request->request_id())) {
      call->end(rpc_error(RpcCode::CANCELLED, "aborted"));
    }
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace octet
