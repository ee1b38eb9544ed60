// How a model's speed grows, or does not, with ranks: every layout of several numbers of ranks, in one job.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "comm/comm_world.h"
#include "kernels/backend_factory.h"
#include "parallel/row_layout_choice.h"
#include "runtime/base/status.h"

namespace octet {

struct ScalingBenchOptions {
  std::filesystem::path model;
  BackendOptions backend;        // num_threads is not used
  std::optional<DType> weights;  // to keep them in; unset: as the file has them
  int threads = 0;               // of all ranks of a layout together; a rank has at least one
  std::vector<int> worlds;       // numbers of ranks, each at most the job's; empty: 1, 2, 4, … up to the job's
  std::vector<int> etps;         // ranks of a place; empty: all that fit
  std::vector<ExchangePolicy> exchanges = {ExchangePolicy::kAuto};
  DType exchange_dtype = DType::kF32;
  std::vector<int64_t> streams = {1, 16};  // that decode at once, each with its own prompt
  int64_t prompt_tokens = 64;              // of each of them
  int64_t steps = 16;                      // decoding steps timed at once
  int64_t prefill_tokens = 512;            // of the one prompt whose prefill is timed; 0: none
  int rounds = 5;                          // the median of so many is reported
  bool json = false;                       // one JSON object instead of a table
};

// Collective over the job; rank 0 prints. A layout of w ranks runs on the job's first w, the others wait asleep;
// layouts take turns, round by round, so that whatever slows the machine meets all of them alike. Before anything is
// timed, every layout must give the tokens of the first one, else kFailed; not on GPUs, where layouts differ in last
// bits. bench/README.md defines the figures.
Status run_scaling_bench(CommWorld& world, const ScalingBenchOptions& options);

}  // namespace octet
