#include "runtime/service/grpc/server.h"

#include <array>
#include <future>
#include <mutex>
#include <thread>

#include "runtime/base/log.h"
#include "runtime/base/stop_wait.h"
#include "runtime/service/api_key.h"
#include "runtime/service/grpc/generation_service.h"
#include "runtime/service/grpc/health_service.h"
#include "runtime/service/grpc/listener.h"
#include "runtime/service/grpc/reflection_service.h"
#include "runtime/service/grpc/rpc_status.h"
#include "runtime/service/heap_trimmer.h"
#include "runtime/service/metrics/job_metrics.h"
#include "runtime/service/metrics/metrics_endpoint.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kWatchInterval{100};  // between two looks at slow clients and at heartbeats
constexpr seconds kFailTime{1};              // for clients to hear of a failure; mpirun leaves us two
constexpr milliseconds kLastBytes{100};      // for what is sent to leave the process

// Of the service's own first request.
class FirstToken final : public CallSink {
 public:
  void push(const GenerateCall&, OutputChunk) override {}
  void finish(const CallEnd& end) override { done_.set_value(end); }
  CallEnd wait() { return done_.get_future().get(); }

 private:
  std::promise<CallEnd> done_;
};

bool is_health(std::string_view path) {
  return path.starts_with(fmt::format("/{}/", grpc::health::v1::Health::service_full_name()));
}

Status compute_a_token(EngineThread& engine, const ServedModel& model, CallObserver& observer) {
  GenerateCall asked;
  asked.request.prompt = {model.special_tokens().begin};
  asked.request.params.max_tokens = 1;
  asked.request.params.sampling.temperature = 0;
  asked.request.params.sampling.seed = 0;
  const auto sink = std::make_shared<FirstToken>();
  const auto never = GenerationCall::Clock::time_point::max();
  auto call =
      std::make_shared<GenerationCall>("warm-up", Caller{}, never, sink, observer, [](const auto&, const auto&) {});
  OCTET_RETURN_IF_ERROR(call->set_call(std::move(asked), model.tokenizer));
  engine.submit(std::move(call));
  const CallEnd end = sink->wait();
  return end.ok() ? ok_status() : failed("the first token: {}", end.message);
}

}  // namespace

struct Server::Impl {
  Impl(ServiceFacts facts, JobWatch job)
      : watch(std::move(job)),
        job_metrics(std::make_shared<JobMetrics>(watch)),
        service(std::move(facts), metrics, [this](const Status& status) { note_failure(status); }) {}

  // As the state and the ranks' heartbeats say.
  void update_health() {
    const bool ready = service.state() == ServiceState::kServing && heartbeats_come();
    if (ready == told_ready.exchange(ready)) return;
    health.set_serving(ready);
    log_info("health: {}", ready ? "serving" : "not serving");
  }

  bool heartbeats_come() const {
    if (!watch.heartbeat_ages) return true;
    return std::ranges::all_of(watch.heartbeat_ages(), [this](double age) { return age <= watch.stale_heartbeat; });
  }

  void look_after(const std::stop_token& stop) {
    while (!stops_within(stop, kWatchInterval)) {
      service.rpcs().drop_stalled(service.facts().limits.stall_limit);
      const std::lock_guard health_lock(health_mutex);
      update_health();
    }
  }

  // Of the end of their calls.
  void let_clients_hear() {
    service.rpcs().wait_until_empty(kFailTime);
    std::this_thread::sleep_for(kLastBytes);
  }

  void note_failure(const Status& status) {
    const std::lock_guard lock(health_mutex);
    failure = status;
  }

  JobWatch watch;
  ServiceMetrics metrics;
  std::shared_ptr<JobMetrics> job_metrics;
  GenerationService service;
  HealthService health;
  ReflectionService reflection{*service.facts().tenants};
  std::unique_ptr<Listener> listener;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint;
  std::unique_ptr<EngineThread> engine;
  std::atomic<bool> told_ready = false;
  std::mutex health_mutex;  // guards the telling of health, and what follows
  Status failure;
  std::jthread caretaker;
  HeapTrimmer heap_trimmer;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, ServedModel model, JobWatch watch) {
  ServiceFacts facts{.model = std::move(model), .limits = options.limits, .version = options.version};
  if (!options.api_key_file.empty()) {
    OCTET_ASSIGN_OR_RETURN(const std::string key, read_api_key(options.api_key_file));
    facts.tenants = std::make_shared<Tenants>(key);
  } else if (!options.tenants.empty()) {
    facts.tenants = std::make_shared<Tenants>(options.tenants);
  }
  auto server = std::unique_ptr<Server>(new Server(std::make_unique<Impl>(std::move(facts), std::move(watch))));
  Impl& impl = *server->impl_;
  const auto judge = [tenants = impl.service.facts().tenants](const RequestHead& head) {
    const bool may_come = is_health(head.path) || tenants->identify(bearer_token(head.authorization)) != nullptr;
    return may_come ? grpc::Status::OK : missing_key();
  };
  OCTET_ASSIGN_OR_RETURN(
      impl.listener,
      Listener::open(options, judge, std::array<grpc::Service*, 3>{&impl.service, &impl.health, &impl.reflection}));
  impl.listener->watch_itself([&impl](const Status& status) { impl.note_failure(status); });
  if (!options.metrics_listen.empty()) {
    std::string key;
    if (!options.metrics_key_file.empty()) {
      OCTET_ASSIGN_OR_RETURN(key, read_api_key(options.metrics_key_file));
    }
    OCTET_ASSIGN_OR_RETURN(impl.metrics_endpoint, MetricsEndpoint::open(options.metrics_listen, key));
    impl.metrics_endpoint->add(impl.metrics.registry());
    impl.metrics_endpoint->add(impl.job_metrics);
  }
  impl.caretaker = std::jthread([&impl](const std::stop_token& stop) { impl.look_after(stop); });
  return server;
}

Server::~Server() {
  impl_->caretaker = {};
  if (impl_->listener == nullptr) return;
  impl_->service.fail("the server is stopping");
  impl_->service.rpcs().wait_until_empty(kFailTime);
  impl_->listener.reset();
  impl_->engine.reset();
}

std::string Server::address() const { return impl_->listener->address().text(); }
std::string Server::metrics_address() const {
  return impl_->metrics_endpoint ? impl_->metrics_endpoint->address() : "";
}

Status Server::serve(ModelRunner& runner) {
  const ServedModel& model = impl_->service.facts().model;
  impl_->engine = std::make_unique<EngineThread>(runner, model.engine, impl_->service);
  OCTET_RETURN_IF_ERROR(compute_a_token(*impl_->engine, model, impl_->service));
  impl_->service.serve(*impl_->engine);
  const std::lock_guard lock(impl_->health_mutex);
  impl_->update_health();
  return ok_status();
}

void Server::drain() {
  impl_->service.drain();
  const std::lock_guard lock(impl_->health_mutex);
  impl_->update_health();
}

void Server::set_tenants(const std::vector<TenantPolicy>& tenants) { impl_->service.facts().tenants->set(tenants); }

bool Server::wait_until_drained(milliseconds time) { return impl_->service.rpcs().wait_until_empty(time); }

void Server::end_drain(milliseconds limit) {
  impl_->service.end_drain(limit);
  impl_->let_clients_hear();
}

void Server::fail(const std::string& why) {
  impl_->service.fail(why);
  impl_->let_clients_hear();
}

Status Server::failure() const {
  const std::lock_guard lock(impl_->health_mutex);
  return impl_->failure;
}

}  // namespace octet
