// A server of the demo model in the test's own process.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/log.h"
#include "runtime/service/grpc/server.h"
#include "tests/model/model_fixture.h"
#include "tests/service/gated_runner.h"
#include "tests/service/rpc_client.h"

namespace octet::testing {

// How it differs from the usual one.
struct TestServerOptions {
  ServerOptions server = {.metrics_listen = ""};  // addresses are chosen by the system
  EngineOptions engine = {};
  int64_t kv_cache_tokens = 64 * 64;  // room for this many
  bool ready = true;                  // false: it stays loading
  JobWatch watch = {};
};

class TestServer {
 public:
  // With a model of its own, on one rank.
  explicit TestServer(TestServerOptions options = {})
      : TestServer(std::make_unique<ModelOnOneRank>(demo_model(), BackendOptions{"cpu", 1, ""}, options.kv_cache_tokens,
                                                    model_options(options)),
                   nullptr, std::move(options)) {}
  // With the demo model that `runner` runs, which outlives it.
  TestServer(ModelRunner& runner, TestServerOptions options) : TestServer(nullptr, &runner, std::move(options)) {}

  // Ends a server's loading.
  void make_ready() { OCTET_CHECK(server_->serve(runner_).ok()); }

  Server& server() const { return *server_; }
  GatedRunner& runner() { return runner_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  // A connection of its own for each call: what is done to one client does not touch another.
  std::shared_ptr<grpc::Channel> connect(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials = grpc::InsecureChannelCredentials(),
      grpc::ChannelArguments arguments = {}) const {
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(server_->address(), credentials, arguments);
  }
  // The same, once it stands. Of many connections that are made at once, gRPC 1.51 may lose some: it reads errno late.
  std::shared_ptr<grpc::Channel> connected(grpc::ChannelArguments arguments = {}) const {
    auto channel = connect(grpc::InsecureChannelCredentials(), std::move(arguments));
    EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(1)));
    return channel;
  }
  std::unique_ptr<Stub> stub() const { return v1::Generation::NewStub(connected()); }

  v1::ServerInfo info() const {
    grpc::ClientContext context;
    v1::ServerInfo info;
    const grpc::Status status = stub()->GetServerInfo(&context, {}, &info);
    OCTET_CHECK(status.ok(), "{}", status.error_message());
    return info;
  }
  // Waits until no sequence runs or waits; the part of the KV cache in use then.
  double await_idle() const {
    for (;;) {
      const v1::Load load = info().load();
      if (load.num_requests_running() + load.num_requests_waiting() == 0) return load.kv_cache_usage();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  // What a model needs for such a server.
  static MixtralOptions model_options(const TestServerOptions& options) {
    MixtralOptions model;
    model.max_rows = std::max(options.engine.prefill_chunk, options.engine.max_batch);
    model.max_logit_rows = options.engine.max_batch;
    model.num_pages = options.kv_cache_tokens / kPageTokens;
    model.max_context = 4096;
    return model;
  }

 private:
  TestServer(std::unique_ptr<ModelOnOneRank> model, ModelRunner* runner, TestServerOptions options)
      : tokenizer_(open_tokenizer()),
        model_(std::move(model)),
        runner_(runner == nullptr ? static_cast<ModelRunner&>(model_->model()) : *runner) {
    OCTET_CHECK(init_log({.level = "warn"}).ok());
    options.server.listen = "127.0.0.1:0";
    if (!options.server.metrics_listen.empty()) options.server.metrics_listen = "127.0.0.1:0";
    auto server = Server::start(options.server, describe(options), options.watch);
    OCTET_CHECK(server.ok(), "{}", server.status().message());
    server_ = *std::move(server);
    if (options.ready) make_ready();
  }

  static Tokenizer open_tokenizer() {
    auto tokenizer = Tokenizer::open(demo_model());
    OCTET_CHECK(tokenizer.ok(), "{}", tokenizer.status().message());
    return *std::move(tokenizer);
  }
  ServedModel describe(const TestServerOptions& options) const {
    auto checkpoint = Checkpoint::open(demo_model());
    OCTET_CHECK(checkpoint.ok(), "{}", checkpoint.status().message());
    ServedModel model;
    model.name = demo_model().filename().string();
    model.config = checkpoint->config();
    model.defaults = checkpoint->generation_defaults();
    model.tokenizer = &tokenizer_;
    auto chat_template = ChatTemplate::load(source_dir() / "configs/chat-templates", kDefaultChatTemplate);
    OCTET_CHECK(chat_template.ok(), "{}", chat_template.status().message());
    model.chat_template = *std::move(chat_template);
    model.engine = options.engine;
    model.bounds = {.vocab_size = runner_.vocab_size(),
                    .max_context = std::min(runner_.max_context(), runner_.num_pages() * kPageTokens),
                    .max_num_samples = options.engine.max_num_samples,
                    .max_logprobs = options.engine.max_logprobs};
    model.device = "cpu";
    model.kv_cache_tokens = runner_.num_pages() * kPageTokens;
    return model;
  }

  Tokenizer tokenizer_;
  std::unique_ptr<ModelOnOneRank> model_;
  GatedRunner runner_;
  std::unique_ptr<Server> server_;
};

}  // namespace octet::testing
