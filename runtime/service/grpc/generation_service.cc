#include "runtime/service/grpc/generation_service.h"

#include "runtime/base/log.h"
#include "runtime/base/out_of_memory.h"
#include "runtime/base/quote.h"
#include "runtime/base/random_bytes.h"
#include "runtime/service/api_key.h"
#include "runtime/service/grpc/bearer_token.h"
#include "runtime/service/grpc/call_deadline.h"
#include "runtime/service/grpc/prompt_parser.h"
#include "runtime/service/grpc/rpc_status.h"
#include "runtime/service/grpc/service_info.h"

namespace octet {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxRequestIdBytes = 128;
constexpr milliseconds kRetryWhileFull{500};
constexpr milliseconds kRetryWhileLoading{2'000};
constexpr milliseconds kRetryAfterDrain{2'000};
constexpr int kEncodingNiceness = 5;  // a quarter of a processor is left to Tokenize where the engine wants them all

double seconds_between(GenerationCall::Clock::time_point from, GenerationCall::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Nobody can guess the id of another's request.
std::string draw_request_id() { return "octet-" + random_hex(16); }

CallEnd too_much_to_read() {
  return {.code = CallEndCode::kExhausted, .message = "too many requests wait to be read", .retry = kRetryWhileFull};
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
      parsing_({.max_items = facts_.model.engine.max_batch + facts_.limits.max_queue,
                .max_bytes = facts_.limits.max_parse_bytes}),
      encoding_({.max_items = facts_.limits.max_queue,
                 .max_bytes = facts_.limits.max_parse_bytes,
                 .niceness = kEncodingNiceness}) {}

void GenerationService::serve(EngineThread& engine) {
  engine_ = &engine;
  auto loading = ServiceState::kLoading;
  state_.compare_exchange_strong(loading, ServiceState::kServing);
}

void GenerationService::drain() {
  state_ = ServiceState::kDraining;
  calls_.close({.code = CallEndCode::kUnavailable, .message = "the server is draining: it takes no new requests"});
}

void GenerationService::end_drain(milliseconds limit) {
  const double seconds = std::chrono::duration<double>(limit).count();
  log_warning("the drain has taken {:g} s: {} requests under way are ended, for their clients to resume elsewhere",
              seconds, calls_.num_live());
  calls_.end_all(
      {.code = CallEndCode::kDeadline,
       .message = fmt::format(
           "the server ends: its drain has taken {:g} s; what has come is good, and another server, or this one "
           "when it is back, goes on after it (resume.token_ids, with the same request and seed)",
           seconds),
       .retry = kRetryAfterDrain});
}

void GenerationService::fail(const std::string& why) {
  state_ = ServiceState::kFailed;
  const CallEnd end{.code = CallEndCode::kUnavailable, .message = why};
  calls_.close(end);
  calls_.end_all(end);
}

void GenerationService::on_step(const StepFacts& facts, const EngineStats& stats) {
  metrics_.on_step(facts, stats);
  if (facts.totals != nullptr) model_metrics_.update(*facts.totals);
}

void GenerationService::on_token(GenerationCall& call, const TokenEvent& event) {
  const auto now = GenerationCall::Clock::now();
  call.caller().tenant->spend_tokens(1, now);
  const auto before = call.note_token(event.id.sample, now);
  if (before) {
    metrics_.on_inter_token(seconds_between(*before, now));
  } else {
    metrics_.on_first_token(seconds_between(call.arrival(), now));
  }
}

void GenerationService::on_sample(const GenerationCall& call, const FinishEvent& event) {
  const auto now = GenerationCall::Clock::now();
  const std::string tenant = call.caller().tenant->policy().name;
  log_event(LogLevel::kInfo, {{"request", call.request_id()},
                              {"tenant", tenant},
                              {"sample", event.id.sample},
                              {"finish", finish_reason_name(event.reason)},
                              {"prompt_tokens", event.num_prompt_tokens},
                              {"output_tokens", event.num_output_tokens},
                              {"cached_tokens", event.num_cached_tokens},
                              {"preemptions", event.num_preemptions},
                              {"s", seconds_between(call.arrival(), now)}});
  metrics_.on_tenant_sample(tenant, event);
  const bool succeeded = event.reason != FinishReason::kCancelled && event.reason != FinishReason::kError;
  if (succeeded) metrics_.on_sample(event, seconds_between(call.arrival(), now));
}

void GenerationService::on_failure(const Status& status) {
  fail(status.message());
  on_engine_failure_(status);
}

grpc::Status GenerationService::identify(const grpc::CallbackServerContext& context, Caller& caller) const {
  caller = {.tenant = facts_.tenants->identify(bearer_token(context)), .peer = context.peer()};
  return caller.tenant == nullptr ? missing_key() : grpc::Status::OK;
}

grpc::Status GenerationService::take_request(Tenant& tenant) {
  const auto refusal = tenant.take_request();
  const std::string name = tenant.policy().name;
  if (!refusal) {
    metrics_.on_tenant_request(name);
    return grpc::Status::OK;
  }
  metrics_.on_tenant_refusal(name, refusal->reason);
  return rpc_retry(grpc::StatusCode::RESOURCE_EXHAUSTED, refusal->message, refusal->retry);
}

// Whether calls may come: the registry knows why not once it is closed.
grpc::Status GenerationService::check_loaded() const {
  if (state() != ServiceState::kLoading) return grpc::Status::OK;
  return rpc_retry(grpc::StatusCode::FAILED_PRECONDITION, "the model is still being loaded", kRetryWhileLoading);
}

grpc::Status GenerationService::check_model(const std::string& name) const {
  if (name.empty() || name == facts_.model.name) return grpc::Status::OK;
  return rpc_error(grpc::StatusCode::NOT_FOUND,
                   fmt::format("model: {} is not served here, {} is", quote(name), quote(facts_.model.name)));
}

grpc::Status GenerationService::check_call(const grpc::CallbackServerContext& context, Caller& caller) {
  if (auto status = identify(context, caller); !status.ok()) return status;
  if (auto status = check_loaded(); !status.ok()) return status;
  if (call_deadline(context) <= GenerationCall::Clock::now()) {
    return rpc_error(grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline had passed on arrival");
  }
  return take_request(*caller.tenant);
}

grpc::Status GenerationService::check_request(const v1::GenerateRequest& request) const {
  if (auto status = check_model(request.model()); !status.ok()) return status;
  if (request.request_id().size() <= kMaxRequestIdBytes) return grpc::Status::OK;
  return rpc_bad_field("request_id",
                       fmt::format("{} bytes are more than {}", request.request_id().size(), kMaxRequestIdBytes));
}

std::shared_ptr<GenerationCall> GenerationService::make_call(const grpc::CallbackServerContext& context,
                                                             const Caller& caller, const std::string& request_id,
                                                             std::shared_ptr<CallSink> sink) {
  return std::make_shared<GenerationCall>(
      request_id.empty() ? draw_request_id() : request_id, caller, call_deadline(context), std::move(sink), *this,
      [this](const GenerationCall& call, const CallEnd& end) { on_end(call, end); });
}

template <typename Rpc>
void GenerationService::refuse(Rpc& rpc, const std::string& request_id, const grpc::Status& status) {
  metrics_.on_failure(failure_reason(status.error_code()));
  log_event(LogLevel::kDebug, {{"request", request_id}}, "refused: " + status.error_message());
  rpc.end(status);
}

template <typename Rpc>
Rpc* GenerationService::take(grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes,
                             std::shared_ptr<Rpc> rpc) {
  Caller caller;
  if (const auto status = check_call(context, caller); !status.ok()) {
    refuse(*rpc, "", status);
    return rpc.get();
  }
  const auto num_bytes = static_cast<int64_t>(bytes.Length());
  // Of a small one what it is called is known before anything else is taken from its client, such as an Abort.
  if (num_bytes <= WorkQueue::kCheapBytes) {
    const auto request = std::make_shared<v1::GenerateRequest>();
    const auto call = begin_call(context, caller, bytes, *request, rpc);
    if (call != nullptr && !parsing_.post(num_bytes, [this, call, request] { parse(call, *request); })) {
      call->end(too_much_to_read());
    }
    return rpc.get();
  }
  const bool posted = parsing_.post(num_bytes, [this, &context, caller, bytes, rpc] {
    if (context.IsCancelled()) return refuse(*rpc, "", grpc::Status::CANCELLED);
    const auto request = std::make_shared<v1::GenerateRequest>();
    if (const auto call = begin_call(context, caller, bytes, *request, rpc)) parse(call, *request);
  });
  if (!posted) refuse(*rpc, "", rpc_status(too_much_to_read()));
  return rpc.get();
}

template <typename Rpc>
std::shared_ptr<GenerationCall> GenerationService::begin_call(const grpc::CallbackServerContext& context,
                                                              const Caller& caller, const grpc::ByteBuffer& bytes,
                                                              v1::GenerateRequest& request,
                                                              const std::shared_ptr<Rpc>& rpc) {
  std::shared_ptr<GenerationCall> call;
  grpc::Status status = grpc::Status::OK;
  const Status room = or_out_of_memory([&] {
    status = read_message(bytes, request);
    if (status.ok()) status = check_request(request);
    if (status.ok()) call = make_call(context, caller, request.request_id(), rpc);
    return ok_status();
  });
  if (status.ok()) status = rpc_status(room);
  if (status.ok()) status = rpc_status(calls_.add(call));
  if (!status.ok()) {
    refuse(*rpc, request.request_id(), status);
    return nullptr;
  }
  rpc->set_call(call);
  return call;
}

void GenerationService::parse(const std::shared_ptr<GenerationCall>& call, const v1::GenerateRequest& request) {
  if (call->ended()) return;
  const Status status = or_out_of_memory([&]() -> Status {
    OCTET_ASSIGN_OR_RETURN(GenerateCall asked, parse_generate(request, facts_.model, facts_.limits));
    OCTET_RETURN_IF_ERROR(apply_policy(*call->caller().tenant, asked));
    OCTET_RETURN_IF_ERROR(call->set_call(std::move(asked), facts_.model.tokenizer));
    engine_.load()->submit(call);
    return ok_status();
  });
  if (!status.ok()) call->end(refusal(status));
}

Status GenerationService::apply_policy(Tenant& tenant, GenerateCall& asked) {
  const TenantPolicy policy = tenant.policy();
  Request& request = asked.request;
  if (request.priority > policy.max_priority) {
    metrics_.on_tenant_refusal(policy.name, "priority");
    return invalid_field("priority", "{} is more than {}, the most that this caller may ask for", request.priority,
                         policy.max_priority);
  }
  request.params.cache_salt = cache_salt_text(policy, request.params.cache_salt);
  tenant.spend_tokens(std::ssize(request.prompt) + std::ssize(request.resumed_output));
  return ok_status();
}

void GenerationService::on_end(const GenerationCall& call, const CallEnd& end) {
  calls_.remove(call);
  if (end.ok()) return;
  const grpc::Status status = rpc_status(end);
  metrics_.on_failure(failure_reason(status.error_code()));
  log_event(LogLevel::kInfo,
            {{"request", call.request_id()},
             {"tenant", call.caller().tenant->policy().name},
             {"reason", failure_reason(status.error_code())}},
            "failed: " + status.error_message());
}

grpc::ServerUnaryReactor* GenerationService::generate(grpc::CallbackServerContext& context,
                                                      const grpc::ByteBuffer& request, v1::GenerateResponse& response) {
  return take(context, request, UnaryRpc::create(rpc_context(context), response));
}

grpc::ServerWriteReactor<v1::GenerateChunk>* GenerationService::generate_stream(grpc::CallbackServerContext& context,
                                                                                const grpc::ByteBuffer& request) {
  return take(context, request, StreamRpc::create(rpc_context(context)));
}

template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* GenerationService::run_later(grpc::CallbackServerContext& context,
                                                       const grpc::ByteBuffer& bytes, Response& response, Work work) {
  const auto rpc = AnswerRpc::create(rpc_context(context));
  Caller caller;
  grpc::Status status = identify(context, caller);
  if (status.ok()) status = take_request(*caller.tenant);
  if (!status.ok()) {
    rpc->end(status);
    return rpc.get();
  }
  const auto do_work = [this, bytes, &response, work](grpc::Status& done) {
    Request request;
    done = read_message(bytes, request);
    if (done.ok()) done = check_model(request.model());
    if (done.ok()) done = rpc_status(work(request, response));
    if (done.ok() && std::cmp_greater(response.ByteSizeLong(), facts_.limits.max_outbox_bytes)) {
      done = rpc_error(grpc::StatusCode::RESOURCE_EXHAUSTED,
                       fmt::format("the answer has more than {} bytes", facts_.limits.max_outbox_bytes));
    }
    return ok_status();
  };
  const bool posted = encoding_.post(static_cast<int64_t>(bytes.Length()), [rpc, &context, do_work] {
    if (context.IsCancelled()) return rpc->end(grpc::Status::CANCELLED);
    grpc::Status done;
    const Status room = or_out_of_memory([&] { return do_work(done); });
    rpc->end(room.ok() ? done : rpc_status(room));
  });
  if (!posted) rpc->end(rpc_status(too_much_to_read()));
  return rpc.get();
}

grpc::ServerUnaryReactor* GenerationService::tokenize(grpc::CallbackServerContext& context,
                                                      const grpc::ByteBuffer& bytes, v1::TokenizeResponse& response) {
  const auto work = [this](const v1::TokenizeRequest& request, v1::TokenizeResponse& answer) {
    OCTET_ASSIGN_OR_RETURN(const ParsedPrompt prompt, parse_prompt(request, facts_.model, facts_.limits));
    for (const TokenId id : prompt.ids) answer.add_pieces(std::string(facts_.model.tokenizer->piece(id)));
    answer.mutable_ids()->Add(prompt.ids.begin(), prompt.ids.end());
    return ok_status();
  };
  return run_later<v1::TokenizeRequest>(context, bytes, response, work);
}

grpc::ServerUnaryReactor* GenerationService::detokenize(grpc::CallbackServerContext& context,
                                                        const grpc::ByteBuffer& bytes,
                                                        v1::DetokenizeResponse& response) {
  const auto work = [this](const v1::DetokenizeRequest& request, v1::DetokenizeResponse& answer) {
    OCTET_ASSIGN_OR_RETURN(std::string text, parse_detokenize(request, facts_.model));
    answer.set_text(std::move(text));
    return ok_status();
  };
  return run_later<v1::DetokenizeRequest>(context, bytes, response, work);
}

grpc::ServerUnaryReactor* GenerationService::GetModelInfo(grpc::CallbackServerContext* context,
                                                          const v1::GetModelInfoRequest* request,
                                                          v1::ModelInfo* response) {
  Caller caller;
  grpc::Status status = identify(*context, caller);
  if (status.ok()) status = check_model(request->model());
  if (status.ok()) fill_model_info(facts_.model, *response);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::GetServerInfo(grpc::CallbackServerContext* context,
                                                           const v1::GetServerInfoRequest*, v1::ServerInfo* response) {
  Caller caller;
  const grpc::Status status = identify(*context, caller);
  if (status.ok()) {
    response->set_version(facts_.version);
    response->set_state(to_proto(state()));
    response->set_device(facts_.model.device);
    fill_layout(facts_.model.topology, *response->mutable_layout());
    fill_limits(facts_.model, facts_.limits, *response->mutable_limits());
    response->mutable_limits()->set_max_priority(caller.tenant->policy().max_priority);
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
  Caller caller;
  const grpc::Status status = identify(*context, caller);
  if (status.ok()) {
    for (const auto& call : calls_.find(caller, request->request_id())) {
      call->end({.code = CallEndCode::kCancelled, .message = "aborted"});
    }
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

}  // namespace octet
