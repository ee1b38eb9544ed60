// How a service does under load: requests that arrive by themselves (open loop) or as fast as others end (closed loop).
// bench/README.md defines the figures.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/serve_load.h"
#include "runtime/base/status.h"
#include "runtime/engine/step_seconds.h"
#include "runtime/service/client/client.h"

namespace octet {

// What became of one request. Times are seconds from the beginning of the load.
struct ServeRecord {
  std::string kind;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt: the service had them
  int64_t output_tokens = 0;  // that came
  double arrival = 0;         // when it was due; of a closed loop: when it was sent
  double first_token = 0;
  double last_token = 0;
  std::vector<double> gaps = {};  // between chunks that brought tokens
  RpcStatus end = {};

  double time_to_first_token() const { return first_token - arrival; }
  double end_to_end() const { return last_token - arrival; }
  // REQUIRES: at least two tokens.
  double time_per_output_token() const { return (last_token - first_token) / static_cast<double>(output_tokens - 1); }
};

// One load on the service. concurrency 0: an open loop.
struct ServeRun {
  double rate = 0;  // that was drawn; 0: a trace, or a closed loop
  int64_t concurrency = 0;
  double seconds = 0;      // to the last token
  StepSeconds steps = {};  // where the time of the service's steps went meanwhile
  std::vector<ServeRecord> records;
};

class ServeBench {
 public:
  // may_go_on: asked all the time; anything but ok ends the benchmark. The client outlives it.
  ServeBench(ServiceClient& client, std::function<Status()> may_go_on)
      : client_(client), may_go_on_(std::move(may_go_on)) {}

  // Warms the service up with some requests, and compares the tokens of each alone with those among the others; of a
  // service on a GPU, which does not promise them, only how many come. kFailed if they differ.
  Status check(int64_t vocab_size, int64_t max_context, uint64_t seed);
  // All requests of a load, at their arrivals, or `concurrency` at a time. kFailed if an answer has fewer tokens than
  // were asked for; calls that end with an error are in their records.
  Result<ServeRun> run(const std::vector<ServeRequest>& load, int64_t concurrency);

 private:
  using Tokens = std::vector<TokenId>;
  Result<std::vector<Tokens>> generate(const std::vector<ServeRequest>& requests);

  ServiceClient& client_;
  std::function<Status()> may_go_on_;
};

}  // namespace octet
