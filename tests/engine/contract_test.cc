// The numeric contract through the engine, on a real model: whether a prompt's beginning comes from the prefix cache, a
// sequence was preempted, or ranks share the work, every request gets the bits that it gets alone.
#include <gtest/gtest.h>

#include <random>

#include "comm/thread_comm.h"
#include "runtime/engine/engine.h"
#include "runtime/model/distributed_runner.h"
#include "tests/engine/guesser.h"
#include "tests/engine/recorder.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

// The longest request needs 5; with few more than that sequences preempt each other.
constexpr int64_t kAmplePages = 64;

struct JobOptions {
  Topology topology = {};
  EngineOptions engine = {};
  int64_t num_pages = kAmplePages;
  bool one_by_one = false;  // each request when the one before is done
  DType kv_dtype = DType::kF32;
  std::vector<Recorder>* known = nullptr;  // what the requests are given alone, to guess it ahead
};

struct JobResult {
  std::vector<Recorder> recorders;
  EngineStats stats;
};

// Some requests begin alike, over one page, several, or all of the prompt; two go on from an earlier one's prompt.
std::vector<Request> make_requests() {
  std::mt19937_64 rng(53);
  const auto random_tokens = [&rng](int64_t count) {
    std::vector<TokenId> tokens(static_cast<size_t>(count));
    for (TokenId& token : tokens) token = static_cast<TokenId>(3 + rng() % 250);
    return tokens;
  };
  const std::vector<TokenId> shared = random_tokens(3 * kPageTokens);
  std::vector<Request> requests;
  for (const auto& [num_shared, num_own] : std::vector<std::pair<int64_t, int64_t>>{
           {192, 5}, {64, 30}, {192, 0}, {130, 1}, {0, 150}, {192, 40}, {192, 5}, {128, 70}}) {
    Request request;
    request.prompt.assign(shared.begin(), shared.begin() + num_shared);
    const std::vector<TokenId> own = random_tokens(num_own);
    request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    request.params.max_tokens = 60;
    request.params.logprobs = 0;
    request.params.sampling.seed = requests.size();
    request.params.sampling.temperature = requests.size() % 2 == 0 ? 0.0 : 1.0;
    requests.push_back(std::move(request));
  }
  requests[1].params.num_samples = 3;
  requests[6].prompt_logprobs = 0;
  return requests;
}

// Submits a request every few steps, so that later ones find what earlier ones left.
Status serve(ModelRunner& runner, const JobOptions& job, const std::vector<Request>& requests, JobResult& result) {
  Guesser guesser(runner.vocab_size(), 5);
  Engine engine(runner, job.engine, job.known == nullptr ? Drafter() : guesser.drafter());
  result.recorders.resize(requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    OCTET_ASSIGN_OR_RETURN(const RequestId id, engine.submit(requests[i], result.recorders[i].callbacks()));
    if (job.known != nullptr) guesser.learn(id, requests[i], (*job.known)[i]);
    for (int step = 0; step < 4; ++step) OCTET_RETURN_IF_ERROR(engine.step().status());
    if (job.one_by_one) OCTET_RETURN_IF_ERROR(engine.run_until_idle());
  }
  OCTET_RETURN_IF_ERROR(engine.run_until_idle());
  result.stats = engine.stats();
  return ok_status();
}

JobResult run_job(const JobOptions& job, const std::vector<Request>& requests) {
  JobResult result;
  const Status status = ThreadWorld::run(job.topology.world, [&](CommWorld& world) -> Status {
    OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(demo_model()));
    OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"cpu", 1, ""}));
    ModelComms comms(world, job.topology);
    MixtralOptions options;
    options.max_rows = 128;
    options.max_logit_rows = 16;
    options.num_pages = job.num_pages;
    options.kv_dtype = job.kv_dtype;
    OCTET_ASSIGN_OR_RETURN(const auto model, Mixtral::create(checkpoint, job.topology, *backend, comms, options));
    if (world.rank() != 0) return follow(world, *model);
    LeadingRunner leader(world, *model);
    return serve(leader, job, requests, result);
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return result;
}

void expect_equal(JobResult& actual, JobResult& expected) {
  for (size_t i = 0; i < expected.recorders.size(); ++i) {
    SCOPED_TRACE(i);
    for (auto& [sample, record] : expected.recorders[i].samples) {
      EXPECT_EQ(actual.recorders[i].samples[sample].tokens, record.tokens);
      EXPECT_EQ(actual.recorders[i].samples[sample].logprobs, record.logprobs);
    }
  }
}

struct Variant {
  int ranks = 1;
  int64_t num_pages = kAmplePages;
  bool prefix_cache = true;
};

void expect_the_bits_of_requests_alone(DType kv_dtype, const std::vector<Variant>& variants) {
  const std::vector<Request> requests = make_requests();
  JobResult alone = run_job({.engine = {.prefix_cache = false}, .one_by_one = true, .kv_dtype = kv_dtype}, requests);
  for (const auto& [ranks, num_pages, prefix_cache] : variants) {
    SCOPED_TRACE(::testing::Message() << ranks << " ranks, " << num_pages << " pages, cache " << prefix_cache);
    JobOptions job{.engine = {.prefill_chunk = 100, .max_batch = 8, .prefix_cache = prefix_cache},
                   .num_pages = num_pages,
                   .kv_dtype = kv_dtype};
    if (ranks == 4) job.topology = {.world = 4, .tp = 2, .dp = 2, .ep = 4};
    JobResult together = run_job(job, requests);
    expect_equal(together, alone);
    EXPECT_EQ(together.stats.prefix_cache_hits > 0, prefix_cache);
    EXPECT_EQ(together.stats.num_preemptions > 0, num_pages < kAmplePages);
    EXPECT_EQ(together.stats.num_pages_used, 0);
  }
}

TEST(EngineContract, CacheAndPreemptionChangeNoBit) {
  expect_the_bits_of_requests_alone(
      DType::kF32, {{1, kAmplePages, true}, {4, kAmplePages, true}, {1, 5, true}, {4, 5, true}, {1, 6, false}});
}

TEST(EngineContract, CacheAndPreemptionChangeNoBitOfInt8Keys) {
  expect_the_bits_of_requests_alone(DType::kI8, {{1, 5, true}});
}

// Rows of wrong guesses are computed, too, and leave keys and values that nobody may see.
TEST(EngineContract, GuessesChangeNoBit) {
  const std::vector<Request> requests = make_requests();
  for (const DType kv_dtype : {DType::kF32, DType::kI8}) {
    JobResult alone = run_job({.engine = {.prefix_cache = false}, .one_by_one = true, .kv_dtype = kv_dtype}, requests);
    for (const int ranks : {1, 4}) {
      SCOPED_TRACE(::testing::Message() << ranks << " ranks");
      JobOptions job{.engine = {.prefill_chunk = 100, .max_batch = 8},
                     .num_pages = 9,
                     .kv_dtype = kv_dtype,
                     .known = &alone.recorders};
      if (ranks == 4) job.topology = {.world = 4, .tp = 2, .dp = 2, .ep = 4};
      JobResult guessed = run_job(job, requests);
      expect_equal(guessed, alone);
      EXPECT_LT(guessed.stats.num_steps, alone.stats.num_steps);
    }
  }
}

}  // namespace
}  // namespace octet::testing
