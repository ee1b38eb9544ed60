// Random traffic through the engine: whatever is served together, preempted, cancelled or sliced, every request gets
// exactly the tokens that it would get alone, no page leaks, and everybody is served.
#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "runtime/engine/engine.h"
#include "tests/engine/fake_runner.h"
#include "tests/engine/guesser.h"
#include "tests/engine/recorder.h"

namespace octet {
namespace {

struct Client {
  Request request;
  RequestId id = 0;
  uint64_t cancel_at_step = UINT64_MAX;
  FinishReason cancel_reason = FinishReason::kCancelled;
  bool wanted_cancelled = false;
  Recorder recorder;
  Recorder alone;  // what an engine that serves nothing else gives it
};

class Traffic {
 public:
  Traffic(const FakeRunnerOptions& runner_options, const EngineOptions& options, uint64_t seed, bool guesses = false)
      : rng_(seed),
        runner_options_(runner_options),
        max_batch_(options.max_batch),
        guesser_(runner_options.vocab_size, seed),
        runner_(runner_options),
        engine_(runner_, options, guesses ? guesser_.drafter() : Drafter()) {
    for (TokenId& token : common_prompt_) token = static_cast<TokenId>(random_below(runner_options_.vocab_size));
  }

  // Submits `num_requests` at random steps, with random cancels, and serves them all.
  void serve(int num_requests, double cancel_share) {
    uint64_t step = 0;
    bool work_is_left = true;
    while (work_is_left || std::ssize(clients_) < num_requests) {
      while (std::ssize(clients_) < num_requests && rng_() % 3 == 0) submit(step, cancel_share);
      for (const auto& client : clients_) {
        if (client->cancel_at_step != step) continue;
        client->wanted_cancelled = true;
        engine_.cancel(client->id, client->cancel_reason);
      }
      const auto result = engine_.step();
      ASSERT_TRUE(result.ok()) << result.status().message();
      work_is_left = *result;
      check_bounds();
      ASSERT_LT(++step, 200'000U) << "somebody starves";
    }
    EXPECT_EQ(engine_.stats().num_pages_used, 0);
    EXPECT_EQ(engine_.stats().num_running + engine_.stats().num_waiting, 0);
  }

  // Compares every output with the one of an engine that serves nothing else; a cancelled one is a beginning of it.
  void check_outputs() {
    for (const auto& client : clients_) {
      SCOPED_TRACE(client->id);
      check_client(*client);
    }
  }

  EngineStats stats() const { return engine_.stats(); }
  int64_t num_guesses() const { return guesser_.num_guesses(); }
  int num_cancelled() const {
    int count = 0;
    for (const auto& client : clients_) count += client->wanted_cancelled;
    return count;
  }

 private:
  int64_t random_below(int64_t bound) { return static_cast<int64_t>(rng_() % static_cast<uint64_t>(bound)); }

  Request random_request() {
    const int64_t longest = std::min(engine_.max_context(), 5 * kPageTokens);
    Request request;
    request.prompt.resize(static_cast<size_t>(1 + random_below(longest - 1)));
    for (TokenId& token : request.prompt) token = static_cast<TokenId>(random_below(runner_options_.vocab_size));
    begin_like_another(request.prompt);
    if (random_below(2) == 0) request.priority = static_cast<int32_t>(random_below(5) - 2);
    const int64_t room = longest - std::ssize(request.prompt);
    request.params.max_tokens = 1 + random_below(room);
    request.params.sampling.seed = rng_();
    request.params.sampling.temperature = static_cast<double>(random_below(3));
    if (random_below(4) == 0) request.params.sampling.top_k = 5;
    if (random_below(4) == 0) request.params.sampling.frequency_penalty = 0.5;
    if (random_below(3) == 0) request.eos_ids = {7};
    if (random_below(4) == 0) request.params.min_tokens = random_below(*request.params.max_tokens);
    if (random_below(4) == 0) request.params.num_samples = 1 + random_below(4);
    request.routed_experts = random_below(4) == 0;
    if (random_below(8) == 0) request.all_prompt_logits = true;
    if (request.all_prompt_logits && random_below(2) == 0)
      request.params = {.sampling = {.temperature = 0}, .max_tokens = 0};
    return request;
  }

  // Half of the prompts begin, for a random length, like the common one, or like what an earlier client has seen.
  void begin_like_another(std::vector<TokenId>& prompt) {
    std::vector<TokenId> seen = common_prompt_;
    if (!clients_.empty() && random_below(2) == 0) {
      Client& earlier = *clients_[static_cast<size_t>(random_below(std::ssize(clients_)))];
      const std::vector<TokenId>& output = earlier.recorder.tokens();
      seen = earlier.request.prompt;
      seen.insert(seen.end(), output.begin(), output.end());
    }
    if (random_below(2) == 0) return;
    const int64_t length = random_below(std::min(std::ssize(prompt), std::ssize(seen)) + 1);
    std::copy_n(seen.begin(), length, prompt.begin());
  }

  void submit(uint64_t step, double cancel_share) {
    auto client = std::make_unique<Client>();
    client->request = random_request();
    if (static_cast<double>(random_below(1000)) < 1000 * cancel_share) {
      client->cancel_at_step = step + static_cast<uint64_t>(random_below(100));
      if (random_below(2) == 0) client->cancel_reason = FinishReason::kTimeLimit;
    }
    const auto id = engine_.submit(client->request, client->recorder.callbacks());
    ASSERT_TRUE(id.ok()) << id.status().message();
    client->id = *id;
    run_alone(*client);
    guesser_.learn(client->id, client->request, client->alone);
    clients_.push_back(std::move(client));
  }

  void run_alone(Client& client) const {
    FakeRunnerOptions options = runner_options_;
    options.num_pages = 40;
    options.num_groups = 1;
    options.max_rows = 1000;
    options.max_logit_rows = 1000;
    FakeRunner runner(options);
    Engine engine(runner);
    ASSERT_TRUE(engine.submit(client.request, client.alone.callbacks()).ok());
    ASSERT_TRUE(engine.run_until_idle().ok());
  }

  void check_bounds() const {
    engine_.check_invariant();
    const EngineStats stats = engine_.stats();
    ASSERT_LE(stats.num_running, max_batch_);
    ASSERT_EQ(stats.num_pages, runner_options_.num_pages * runner_options_.num_groups);
    ASSERT_GE(stats.num_pages_used, stats.num_running > 0 ? 1 : 0);
  }

  static void check_client(Client& client) {
    EXPECT_EQ(client.recorder.num_finished, client.request.params.num_samples);
    for (auto& [index, expected] : client.alone.samples) {
      const SampleRecord& actual = client.recorder.samples[index];
      if (actual.finish != client.cancel_reason) {
        EXPECT_EQ(actual.tokens, expected.tokens);
        EXPECT_EQ(actual.experts, expected.experts);
        EXPECT_EQ(actual.finish, expected.finish);
        continue;
      }
      EXPECT_TRUE(client.wanted_cancelled);
      ASSERT_LE(actual.tokens.size(), expected.tokens.size());
      EXPECT_TRUE(std::equal(actual.tokens.begin(), actual.tokens.end(), expected.tokens.begin()));
    }
    if (!client.wanted_cancelled) {
      EXPECT_EQ(client.recorder.prompt_logits, client.alone.prompt_logits);
    }
  }

  std::mt19937_64 rng_;
  FakeRunnerOptions runner_options_;
  int64_t max_batch_;
  Guesser guesser_;
  FakeRunner runner_;
  Engine engine_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<TokenId> common_prompt_ = std::vector<TokenId>(static_cast<size_t>(5 * kPageTokens));
};

TEST(Simulation, RandomTrafficWithAmplePages) {
  Traffic traffic({.num_pages = 200}, {.prefill_chunk = 48, .max_batch = 12}, 1);
  traffic.serve(300, 0.0);
  traffic.check_outputs();
  EXPECT_GT(traffic.stats().prefix_cache_hits, 20 * kPageTokens);
}

TEST(Simulation, WithoutAPrefixCache) {
  Traffic traffic({.num_pages = 12, .num_groups = 2}, {.prefill_chunk = 48, .max_batch = 12, .prefix_cache = false}, 5);
  traffic.serve(300, 0.2);
  traffic.check_outputs();
  EXPECT_EQ(traffic.stats().prefix_cache_hits, 0);
  EXPECT_EQ(traffic.stats().num_pages_idle, 0);
}

// Everything at once, thousands of times.
TEST(Simulation, LongTrafficOfEveryKind) {
  for (int64_t num_groups = 1; num_groups <= 4; ++num_groups) {
    SCOPED_TRACE(num_groups);
    Traffic traffic({.num_pages = 7 + num_groups, .num_groups = num_groups}, {.prefill_chunk = 80, .max_batch = 24},
                    900 + static_cast<uint64_t>(num_groups));
    traffic.serve(4000, 0.2);
    traffic.check_outputs();
    EXPECT_GT(traffic.stats().num_preemptions, 10);
    EXPECT_GT(traffic.stats().prefix_cache_hits, 1000 * kPageTokens);
    EXPECT_GT(traffic.stats().prefix_cache_evictions, 1000);
  }
}

TEST(Simulation, TinyPagePoolsPreemptWithoutChangingAToken) {
  int64_t num_preemptions = 0;
  for (const int64_t num_pages : {5, 6, 9, 14}) {
    SCOPED_TRACE(num_pages);
    Traffic traffic({.num_pages = num_pages}, {.prefill_chunk = 100, .max_batch = 12},
                    100 + static_cast<uint64_t>(num_pages));
    traffic.serve(500, 0.0);
    traffic.check_outputs();
    num_preemptions += traffic.stats().num_preemptions;
  }
  EXPECT_GT(num_preemptions, 100);
}

TEST(Simulation, GuessesChangeNoTokenWhateverElseHappens) {
  int64_t num_preemptions = 0;
  for (const auto& [num_pages, num_groups, rows, logit_rows, prefix_cache] :
       std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t, bool>>{
           {200, 1, 64, 16, true}, {8, 2, 64, 16, true}, {6, 1, 64, 9, true}, {7, 3, 9, 4, false}}) {
    SCOPED_TRACE(testing::Message() << num_pages << " pages, " << num_groups << " groups");
    Traffic traffic({.max_rows = rows, .max_logit_rows = logit_rows, .num_pages = num_pages, .num_groups = num_groups},
                    {.prefill_chunk = 48, .max_batch = 12, .prefix_cache = prefix_cache},
                    40 + static_cast<uint64_t>(num_pages),
                    /*guesses=*/true);
    traffic.serve(200, 0.2);
    traffic.check_outputs();
    EXPECT_GT(traffic.num_guesses(), 1000);
    num_preemptions += traffic.stats().num_preemptions;
  }
  EXPECT_GT(num_preemptions, 100);
}

TEST(Simulation, RandomCancelsHarmNobodyElse) {
  Traffic traffic({.num_pages = 11}, {.prefill_chunk = 64, .max_batch = 8}, 3);
  traffic.serve(600, 0.5);
  traffic.check_outputs();
  EXPECT_GT(traffic.num_cancelled(), 200);
}

TEST(Simulation, SeveralGroupsAndNarrowSteps) {
  const std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t>> layouts = {
      // groups, rows, logit rows, prefill chunk
      {2, 64, 16, 512},
      {4, 8, 3, 5},
      {3, 7, 1, 512},
      {1, 1, 1, 1},
      {8, 33, 2, 20}};
  for (const auto& [num_groups, rows, logit_rows, chunk] : layouts) {
    SCOPED_TRACE(testing::Message() << num_groups << " groups, " << rows << " rows, " << logit_rows << " logit rows");
    Traffic traffic({.max_rows = rows, .max_logit_rows = logit_rows, .num_pages = 8, .num_groups = num_groups},
                    {.prefill_chunk = chunk}, 17);
    traffic.serve(150, 0.1);
    traffic.check_outputs();
  }
}

}  // namespace
}  // namespace octet
