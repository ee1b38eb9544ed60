// How fast a model generates: the prefill of a prompt, and decoding for several streams at once, beside the limits of
// its devices. bench/README.md defines the figures.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/limits.h"
#include "bench/step_cost.h"
#include "bench/timing.h"
#include "runtime/base/status.h"
#include "runtime/model/model_runner.h"

namespace octet {

struct GenerateBenchOptions {
  int64_t prompt_tokens = 512;  // of the prompt whose prefill is timed
  int64_t context = 64;         // prompt tokens of a stream that decodes
  int64_t steps = 16;           // decoding steps timed at once
  std::vector<int64_t> streams = {1, 8, 16, 32};
  int rounds = 5;     // the median of so many is reported
  uint64_t seed = 1;  // of the prompts
  int64_t prefill_chunk = 512;
  BenchClock clock = BenchClock::kWall;
  // Asked between steps; anything but ok ends the benchmark.
  std::function<Status()> may_go_on = [] { return ok_status(); };
};

// Tokens that a sequence of the benchmark may have: what the runner must have room for, for each of the most streams.
int64_t longest_sequence(const GenerateBenchOptions& options);

struct BenchedModel {
  ModelRunner& runner;
  const ModelConfig& config;
  // Whether a stream's tokens are the same whatever else is in its steps; else only the same steps give the same.
  bool keeps_bits = true;
  double weight_bytes = 2;  // of one weight as it is kept
  double kv_bytes = 4;      // of one element of the KV cache
};

// One line of the report: what took how long.
struct GenerateLine {
  std::string what;  // "prefill" or "decode"
  int64_t streams = 1;
  int64_t tokens = 0;                // of one step: the prompt, or a token of each stream
  StepCost cost;                     // of the same
  std::vector<double> seconds = {};  // of the same, of each round
  std::vector<Limits> limits = {};   // where they are known
};

class GenerateReport {
 public:
  explicit GenerateReport(std::vector<GenerateLine> lines) : lines_(std::move(lines)) {}
  std::string to_text() const;
  std::string to_json() const;

 private:
  std::vector<GenerateLine> lines_;
};

// Checks first that streams decoded together give the tokens that they give alone, or, of a model that does not keep
// bits, once more together (kFailed if not), warms up, then measures round by round, every line once in each. All
// streams have different random prompts, so that routing spreads.
Result<GenerateReport> run_generate_bench(const GenerateBenchOptions& options, const BenchedModel& model,
                                          const LimitSource& limits, int num_threads);

}  // namespace octet
