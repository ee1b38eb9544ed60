// ScaledModel: a model laid out over the first ranks of a job, and what its steps cost there.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/streams.h"
#include "comm/comm_world.h"
#include "kernels/backend_factory.h"
#include "parallel/topology.h"
#include "runtime/model/mixtral.h"

namespace octet {

struct ScaledLayout {
  Topology topology;
  ExchangePolicy exchange = ExchangePolicy::kAuto;
  int threads = 1;  // of a rank

  std::string text() const;  // "2 ranks x 1 thread, ep 2 etp 1, auto"
};

// What is asked of every layout alike.
struct Workload {
  int64_t streams = 1;
  int64_t prompt_tokens = 0;
  int64_t steps = 0;  // decoding steps; 0: the prefill is the work

  bool operator==(const Workload&) const = default;
  bool is_prefill() const { return steps == 0; }
  int64_t tokens() const { return is_prefill() ? prompt_tokens * streams : steps * streams; }
};

// What work has cost, on one rank or added over ranks.
struct WorkCost {
  std::array<double, kNumStepPhases> seconds{};  // inside steps, collectives apart; where a host only enqueues, all of
                                                 // it is rest
  double waiting = 0;                            // seconds inside collectives
  std::array<double, kNumPhases> bytes{};        // sent to other ranks
  WorkCost& operator+=(const WorkCost& other);
  WorkCost operator-(const WorkCost& other) const;
};

class ScaledModel {
 public:
  // Collective over the layout's ranks; the checkpoint is not needed afterwards. Keys and values are of the device's
  // default type. kInvalidInput where the device does not run the model.
  static Result<std::unique_ptr<ScaledModel>> create(CommWorld& world, const Checkpoint& checkpoint,
                                                     const ScaledLayout& layout, const BackendOptions& backend,
                                                     const MixtralOptions& options);

  // Reads the prompts, which decoding needs once; every stream's first token.
  Result<std::vector<TokenId>> prefill(const Streams& streams);
  // `steps` more tokens of each stream, step by step, greedily; all of them on every rank.
  Result<std::vector<TokenId>> decode(const Streams& streams, std::vector<TokenId> tokens, int64_t steps);
  // Of all steps so far, on this rank.
  WorkCost cost() const;
  // Where every layout gives the same bits.
  bool on_host() const { return backend_->memory_kind() == MemoryKind::kHost; }
  RowLayoutKind row_layout(int64_t group_rows) const { return model_->row_layouts().choose(group_rows); }

 private:
  ScaledModel(CommWorld& world, const Topology& topology, std::unique_ptr<Backend> backend, int64_t most_streams)
      : world_(world),
        backend_(std::move(backend)),
        comms_(world, topology),
        stream_(backend_->make_stream()),
        tokens_(backend_->allocate_tensor(DType::kI32, {most_streams, 1})) {}

  // The most likely token of each stream, from rank 0 to all.
  Result<std::vector<TokenId>> run(const StepPlan& plan);

  CommWorld& world_;
  std::unique_ptr<Backend> backend_;
  ModelComms comms_;
  std::unique_ptr<Mixtral> model_;
  std::unique_ptr<Stream> stream_;
  Tensor tokens_;  // I32 [streams, 1]
};

}  // namespace octet
