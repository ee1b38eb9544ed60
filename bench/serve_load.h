// The requests of a load on a service: drawn, or from a trace. Their prompts are random tokens, all different, so that
// routing spreads and no prompt is found in a cache unless it is meant to be.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/length_distribution.h"
#include "runtime/base/status.h"
#include "runtime/base/tensor.h"

namespace octet {

struct ServeRequest {
  double arrival = 0;  // seconds from the beginning of the load; of a closed loop: 0
  std::vector<TokenId> prompt;
  int64_t output_tokens = 0;
  std::string kind;  // requests of a kind are reported together; may be empty
};

struct ServeLoadOptions {
  int64_t num_requests = 64;
  LengthDistribution prompt_tokens = LengthDistribution::fixed(128);
  LengthDistribution output_tokens = LengthDistribution::fixed(128);
  // So many requests in a row begin with the same tokens, of which there are `same_prefix`; 0: none do. Their kinds are
  // "first with its prefix" and "later with its prefix".
  int64_t same_prefix = 0;
  int64_t prefix_uses = 2;
  uint64_t seed = 1;
};

// rate: arrivals a second of a Poisson process; 0: all at 0. The same options, rate and vocabulary give the same load.
std::vector<ServeRequest> draw_load(const ServeLoadOptions& options, double rate, int64_t vocab_size);

// A trace: a line is {"arrival_s", "prompt_tokens", "output_tokens", "kind"?}, in any order; blank lines are left out.
// Arrivals are multiplied by time_scale. kInvalidInput naming the line.
Result<std::vector<ServeRequest>> load_of_trace(std::string_view text, double time_scale, uint64_t seed,
                                                int64_t vocab_size);

// The same requests as lines for `octet generate --input`: greedy, as many tokens as here.
std::string batch_lines(const std::vector<ServeRequest>& load);

}  // namespace octet
