// SessionOptions: which model is opened, and how it is run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/agreement.h"
#include "comm/watch_judge.h"
#include "kernels/backend_factory.h"
#include "kernels/weight_format.h"
#include "parallel/row_layout_choice.h"
#include "parallel/topology.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/engine/engine.h"
#include "runtime/model/mixtral_options.h"

namespace octet {

// How experts are dealt to places (parallel/expert_placement.h).
struct ExpertPlacement {
  enum class Kind { kLinear, kRoundRobin, kFile };

  Kind kind = Kind::kLinear;
  std::filesystem::path file = {};  // of kFile: see parse_placement
};

// The experts of each of `num_places` places. kInvalidInput, which names it, for a file that is not one.
Result<std::vector<std::vector<int32_t>>> place_experts(const ExpertPlacement& placement, int64_t num_experts,
                                                        int num_places);

struct SessionOptions {
  std::filesystem::path model = {};      // directory of a checkpoint
  std::filesystem::path tokenizer = {};  // a tokenizer.model file or a model's directory; empty: the model's own
  CheckpointOptions checkpoint = {};
  bool check_weights = false;  // refuse those that are NaN or infinite: reads them all

  BackendOptions backend = {};  // num_threads 0: this rank's share of its host; the GPU is the session's choice
  std::optional<WeightFormat> weights = {};  // kept in this one; unset: as the files have them
  std::optional<DType> kv_dtype = {};        // unset: the device's default
  int64_t kv_cache_bytes = 0;  // of a rank; 0: enough for engine.max_batch contexts, as far as memory goes
  int64_t max_context = 0;     // tokens; 0: what the checkpoint says
  EngineOptions engine = {};

  LayoutRequest layout = {};  // the number of ranks is the job's
  ExchangePolicy exchange = ExchangePolicy::kAuto;
  DType exchange_dtype = DType::kF32;
  ExpertPlacement placement = {};
  bool explain = false;  // say on the log how the model is laid out, and what exchanges cost

  WatchLimits watch = {};          // of a job of several ranks
  std::string watch_address = {};  // WatchdogOptions::address of a job over several hosts
  // Whatever else chose these options and must be the same on every rank, each under its name; in a job of several
  // ranks it is compared beside the binary and the model's small files.
  std::function<Result<std::vector<NamedHash>>()> also_alike = {};
};

// What a model is built with that is opened like this, whether it is there or only planned: all but its KV pages and
// where its experts are. default_kv_dtype: the device's.
MixtralOptions model_options(const SessionOptions& options, DType default_kv_dtype);

}  // namespace octet
