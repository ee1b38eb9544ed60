// Requests on a fake model, for tests of the engine.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tests/engine/fake_runner.h"
#include "tests/engine/recorder.h"

namespace octet {

inline std::vector<TokenId> random_tokens(int64_t count, uint64_t seed, int64_t vocab_size = 40) {
  std::mt19937_64 rng(seed);
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  for (TokenId& token : tokens) token = static_cast<TokenId>(rng() % static_cast<uint64_t>(vocab_size));
  return tokens;
}

inline Request make_request(int64_t prompt_size, int64_t max_tokens, uint64_t seed = 1) {
  Request request{.prompt = random_tokens(prompt_size, seed)};
  request.params.max_tokens = max_tokens;
  request.params.sampling.seed = seed;
  return request;
}

// Runs one request in an engine of its own.
inline Recorder run_alone(const Request& request, const FakeRunnerOptions& options = {}) {
  FakeRunner runner(options);
  Engine engine(runner);
  Recorder recorder;
  const auto id = engine.submit(request, recorder.callbacks());
  EXPECT_TRUE(id.ok()) << id.status().message();
  EXPECT_TRUE(engine.run_until_idle().ok());
  EXPECT_EQ(engine.stats().num_pages_used, 0);
  return recorder;
}

}  // namespace octet
