// octet serve: the generation service.
#include <array>
#include <atomic>
#include <csignal>
#include <future>
#include <optional>

#include "comm/comm_factory.h"
#include "launcher/api_keys_file.h"
#include "launcher/commands/commands.h"
#include "launcher/open_session.h"
#include "launcher/prompt_builder.h"
#include "launcher/service_flags.h"
#include "runtime/base/address.h"
#include "runtime/base/log.h"
#include "runtime/base/model_folder.h"
#include "runtime/session/explain.h"

namespace octet {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kTick{50};             // between two looks at what has changed
constexpr double kStaleHeartbeatShare = 0.2;  // of the heartbeat limit: the service is not ready any more

// SIGINT, SIGTERM and SIGUSR1, which end, SIGHUP and SIGUSR2, which have keys read again, wait for whoever asks, in
// every thread that is started from now on.
class ServiceSignals {
 public:
  ServiceSignals() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGUSR2}) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  // The signal that came within `time`; 0: none.
  int wait(milliseconds time) const {
    const timespec limit{time.count() / 1000, time.count() % 1000 * 1'000'000};
    return std::max(0, sigtimedwait(&signals_, nullptr, &limit));
  }

 private:
  sigset_t signals_{};
};

class ServeCommand final : public Command {
 public:
  const char* name() const override { return "serve"; }
  const char* summary() const override { return "Serve a model over gRPC"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet serve                                         the demo model on 127.0.0.1:50051\n"
           "  octet serve --model ~/Mixtral-8x7B-v0.1 --listen 0.0.0.0:50051 --tls-cert c.pem --tls-key k.pem\n"
           "  octet run --ranks 4 --restart 3 -- serve            many ranks, started again after a failure\n"
           "Ctrl-C, SIGTERM or SIGUSR1 drains: streams under way finish, new calls are refused, exit code 0. A second "
           "signal\nends at once. SIGHUP has --api-keys read again. Surface: runtime/service/octet.proto; metrics:\n"
           "http://127.0.0.1:9464/metrics.";
  }

  void declare(CLI::App& app) override {
    declare_service_flags(app, flags_);
    app.add_option("--served-model-name", served_name_,
                   "what the model is called in requests and in GetModelInfo (default: the name of its folder; of a "
                   "Hugging Face cache folder ORGANISATION/NAME)")
        ->type_name("NAME");
    declare_chat_flags(app, chat_);
    declare_generation_config(app, model_);
    declare_model_flags(app, model_);
  }

  Status run() override {
    const ServiceSignals signals;
    // The server is made after the watch over the ranks has begun.
    std::atomic<Server*> server = nullptr;
    const auto tell_clients = [&server](const JobFailure& failure) {
      if (Server* known = server.load()) known->fail(failure.line);
    };
    OCTET_ASSIGN_OR_RETURN(const auto session, open_session(model_, {}, tell_clients));
    if (!session->leads()) return session->follow();
    OCTET_ASSIGN_OR_RETURN(ServedModel model, describe(*session));
    flags_.server.version = OCTET_VERSION;
    if (has_keys()) {
      OCTET_ASSIGN_OR_RETURN(flags_.server.tenants, read_api_keys(flags_.api_keys_file));
    }
    OCTET_ASSIGN_OR_RETURN(const auto started, Server::start(flags_.server, std::move(model), watch_over(*session)));
    server = started.get();
    warn_of_exposure(flags_.server);
    log_info("{}: listening on {}, loading", session->path().string(), started->address());
    return look_after(signals, *session, *started);
  }

 private:
  // What an operator may not have meant.
  static void warn_of_exposure(const ServerOptions& options) {
    const auto address = parse_listen_address(options.listen);
    if (!address.ok() || address->is_local()) return;
    const bool asks = !options.api_key_file.empty() || !options.tenants.empty() || !options.tls_client_ca.empty();
    if (!asks) {
      log_warning(
          "{}: whoever reaches this address may use the service: --api-keys, --api-key-file or --tls-client-ca "
          "say who may",
          options.listen);
    } else if (options.tls_cert.empty()) {
      log_warning("{}: keys, prompts and answers travel in clear: --tls-cert and --tls-key encrypt", options.listen);
    }
  }

  Result<ServedModel> describe(const Session& session) const {
    ServedModel model;
    model.name = served_name_.empty() ? model_name(session.path()) : served_name_;
    model.config = session.config();
    model.defaults = session.generation_defaults();
    model.tokenizer = session.tokenizer();
    model.safe_prompt = chat_.safe_prompt;
    model.bounds = session.request_bounds();
    model.engine = session.engine_options();
    model.topology = session.topology();
    model.experts_of_place = session.experts_of_place();
    model.device = session.device();
    model.kv_cache_tokens = session.kv_cache_tokens();
    if (model.tokenizer == nullptr) return model;
    auto chat_template = open_chat_template(chat_, session.path(), *model.tokenizer);
    if (chat_template.ok()) {
      model.chat_template = *std::move(chat_template);
    } else if (chat_.chat_template.empty()) {  // a model that only completes text is served all the same
      log_warning("no chat: {}", chat_template.status().message());
    } else {
      return chat_template.status();
    }
    return model;
  }

  JobWatch watch_over(const Session& session) const {
    JobWatch watch;
    watch.phase_totals = [&session] { return session.progress().totals(); };
    watch.stale_heartbeat = model_.heartbeat_limit * kStaleHeartbeatShare;
    if (const Watchdog* watchdog = session.watchdog()) {
      watch.heartbeat_ages = [watchdog] { return watchdog->heartbeat_ages(); };
    }
    return watch;
  }

  // Loads on a thread of its own, so that signals are heard meanwhile, and serves until a signal or a failure ends it.
  Status look_after(const ServiceSignals& signals, Session& session, Server& server) {
    std::future<Status> loading = std::async(std::launch::async, [&] {
      OCTET_RETURN_IF_ERROR(session.load());
      return server.serve(session.runner());
    });
    std::optional<Clock::time_point> drain_end;
    for (;;) {
      if (const int signal = signals.wait(kTick); has_keys() && (signal == SIGHUP || signal == SIGUSR2)) {
        read_keys_again(server);
      } else if (signal != 0) {
        const bool from_launcher = signal == SIGUSR1 || signal == SIGUSR2;
        if (drain_end || (!from_launcher && launched_as_rank())) end_now(session, server);
        if (loading.valid() && !launched_as_rank()) end_process(0);  // there is nothing to drain
        log_info("draining: the service ends when its streams have; a second signal ends it at once");
        server.drain();
        drain_end = Clock::now() + flags_.drain_limit;
      }
      if (loading.valid()) {
        if (loading.wait_for(milliseconds(0)) != std::future_status::ready) continue;
        OCTET_RETURN_IF_ERROR(loading.get());
        if (!drain_end) say_ready(session, server);
      }
      if (const Status failure = server.failure(); !failure.ok()) session.end_job(failure);
      if (!drain_end) continue;
      if (server.wait_until_drained(milliseconds(0))) return ok_status();
      if (Clock::now() >= *drain_end) {
        server.end_drain(flags_.drain_limit);
        return ok_status();
      }
    }
  }

  bool has_keys() const { return !flags_.api_keys_file.empty(); }

  // A file that is wrong changes nothing.
  void read_keys_again(Server& server) const {
    const auto tenants = read_api_keys(flags_.api_keys_file);
    if (!tenants.ok()) return log_error("{}; the keys read before stay", tenants.status().message());
    server.set_tenants(*tenants);
    log_info("{}: read again, {} keys", flags_.api_keys_file, tenants->size());
  }

  // Rank 0's watchdog lets the clients know before the job ends; a process alone does so here.
  [[noreturn]] static void end_now(Session& session, Server& server) {
    if (session.watchdog() == nullptr) server.fail("the server was told to end");
    session.end_job({StatusCode::kInterrupted, "told to end"});
  }

  static void say_ready(const Session& session, const Server& server) {
    log_info("ready: serving {} on {}; {}; KV cache of {} tokens, at most {} sequences at once{}",
             session.path().string(), server.address(), layout_text(session.topology()), session.kv_cache_tokens(),
             session.engine_options().max_batch,
             server.metrics_address().empty()
                 ? ""
                 : fmt::format("; metrics on http://{}/metrics", server.metrics_address()));
  }

  ServiceFlags flags_;
  std::string served_name_;  // empty: the folder's
  ChatFlags chat_;
  ModelFlags model_;
};

}  // namespace

std::unique_ptr<Command> make_serve_command() { return std::make_unique<ServeCommand>(); }

}  // namespace octet
