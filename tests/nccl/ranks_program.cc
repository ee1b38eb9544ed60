// One rank of a job on GPUs whose layouts must give what one GPU gives.
// usage: mpirun -n N nccl_ranks_program CHECKPOINT LAYOUTS      LAYOUTS: "default" or "all" that fit N ranks
//
// Rank 0 runs a few sequences on its GPU alone, greedily. Then every layout, in both row layouts where both are
// offered, follows the same tokens: its logits must be within kTolerance of the largest logit, and its choice the same
// wherever the first choice on one GPU leads by twice that. Every decode step is run twice, enqueued and replayed or
// replayed again: the logits are equal to the bit, and so are those of a model that never replays. What the software
// GPU counts of a decode step is printed, and NCCL's bytes are those of the plan.
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "comm/agreement.h"
#include "comm/comm_factory.h"
#include "comm/local_world.h"
#include "kernels/backend_factory.h"
#include "runtime/model/mixtral.h"

namespace octet {
namespace {

constexpr size_t kNumSequences = 3;
constexpr int64_t kDecodeSteps = 3;
constexpr int64_t kPagesEach = 1;
// Of the largest logit's size. Between layouts only the order of fp32 sums differs, but a sum that rounds to another
// bf16 changes what the next product reads.
constexpr float kTolerance = 0.02F;

using Logits = std::vector<std::vector<float>>;  // of each sequence
using Tokens = std::vector<std::vector<TokenId>>;

struct Layout {
  Topology topology;
  ExchangePolicy exchange = ExchangePolicy::kAuto;
  bool graphs = true;

  std::string text() const {
    const Topology& t = topology;
    return fmt::format("tp {} dp {} ep {} etp {} x{} {}{}", t.tp, t.dp, t.ep, t.etp, t.replicas,
                       exchange == ExchangePolicy::kAllToAll ? "all-to-all" : "replicated", graphs ? "" : " eager");
  }
};

Tokens random_prompts(int64_t vocab) {
  std::mt19937 random(11);
  Tokens prompts(kNumSequences);
  for (auto& prompt : prompts) {
    prompt.resize(1 + random() % 12);
    for (TokenId& id : prompt) id = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  }
  return prompts;
}

// The tokens from `done` on of every sequence, with the last one's logits; sequence s lives in dp group s % dp.
StepPlan plan_of(const Tokens& tokens, const std::vector<int64_t>& done, const Topology& topology) {
  StepPlan plan;
  plan.groups.resize(static_cast<size_t>(topology.dp));
  for (size_t s = 0; s < tokens.size(); ++s) {
    GroupPlan& group = plan.groups[s % plan.groups.size()];
    const int64_t num_rows = std::ssize(tokens[s]) - done[s];
    group.sequences.push_back(
        {static_cast<int32_t>(group.num_rows()), static_cast<int32_t>(num_rows), static_cast<int32_t>(done[s])});
    group.token_ids.insert(group.token_ids.end(), tokens[s].begin() + done[s], tokens[s].end());
    std::vector<int32_t> pages(kPagesEach);
    std::iota(pages.begin(), pages.end(), static_cast<int32_t>(static_cast<int64_t>(s) * kPagesEach));
    group.page_tables.push_back(pages);
    group.logit_rows.push_back(static_cast<int32_t>(group.num_rows()) - 1);
  }
  return plan;
}

// A model of one layout, and its steps' logits on rank 0.
class Model {
 public:
  static Result<std::unique_ptr<Model>> create(const Checkpoint& checkpoint, const Layout& layout, Backend& backend,
                                               CommWorld& world) {
    auto model = std::make_unique<Model>(layout, world);
    MixtralOptions options;
    options.max_rows = 64;
    options.max_logit_rows = 8;
    options.num_pages = kPagesEach * static_cast<int64_t>(kNumSequences);
    options.max_context = kPagesEach * kPageTokens;
    options.kv_dtype = DType::kBF16;
    options.exchange = layout.exchange;
    options.graphs = layout.graphs;
    options.load.dtype = DType::kBF16;
    OCTET_ASSIGN_OR_RETURN(model->mixtral_,
                           Mixtral::create(checkpoint, layout.topology, backend, model->comms_, options));
    return model;
  }
  Model(const Layout& layout, CommWorld& world) : layout_(layout), world_(world), comms_(world, layout.topology) {}

  Result<Logits> run(const Tokens& tokens, const std::vector<int64_t>& done) {
    OCTET_ASSIGN_OR_RETURN(const StepResult result, mixtral_->run(plan_of(tokens, done, layout_.topology)));
    Logits logits(tokens.size());
    if (world_.rank() != 0) return logits;
    const float* next = result.logits.as<float>();
    for (size_t group = 0; group < static_cast<size_t>(layout_.topology.dp); ++group) {
      for (size_t s = group; s < tokens.size(); s += static_cast<size_t>(layout_.topology.dp)) {
        logits[s].assign(next, next + mixtral_->vocab_size());
        next += mixtral_->vocab_size();
      }
    }
    return logits;
  }

 private:
  Layout layout_;
  CommWorld& world_;
  ModelComms comms_;
  std::unique_ptr<Mixtral> mixtral_;
};

TokenId best(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
}

// What one GPU says: the tokens, and the logits of every step.
struct Reference {
  Tokens tokens;
  std::vector<Logits> steps;
};

Result<Reference> run_alone(const Checkpoint& checkpoint, Backend& backend, const Tokens& prompts) {
  OCTET_ASSIGN_OR_RETURN(const auto world, make_device_world(std::make_unique<LocalWorld>(), backend.memory_kind()));
  OCTET_ASSIGN_OR_RETURN(const auto model, Model::create(checkpoint, {}, backend, *world));
  Reference reference{prompts, {}};
  std::vector<int64_t> done(prompts.size(), 0);
  for (int64_t step = 0; step <= kDecodeSteps; ++step) {
    OCTET_ASSIGN_OR_RETURN(Logits logits, model->run(reference.tokens, done));
    for (size_t s = 0; s < prompts.size(); ++s) {
      done[s] = std::ssize(reference.tokens[s]);
      reference.tokens[s].push_back(best(logits[s]));
    }
    reference.steps.push_back(std::move(logits));
  }
  return reference;
}

// Rank 0's tokens to all.
void share_tokens(CommWorld& world, Tokens& tokens) {
  for (auto& ids : tokens) {
    const auto bytes = std::as_bytes(std::span(ids));
    std::vector<std::byte> message(bytes.begin(), bytes.end());
    world.host().broadcast(message, 0);
    ids.resize(message.size() / sizeof(TokenId));
    std::memcpy(ids.data(), message.data(), message.size());
  }
}

// What the software GPU has counted so far of this process's device.
struct Counts {
  uint64_t kernels = 0, gemms = 0, graphs = 0, waits = 0, nccl_calls = 0, nccl_operations = 0, nccl_bytes = 0;

  Counts operator-(const Counts& other) const {
    return {kernels - other.kernels,      gemms - other.gemms,           graphs - other.graphs,
            waits - other.waits,          nccl_calls - other.nccl_calls, nccl_operations - other.nccl_operations,
            nccl_bytes - other.nccl_bytes};
  }
};

Counts counts_so_far(int device) {
  using Count = unsigned long long (*)(const char*, int, const char*, unsigned long long*);
  const auto count = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "softgpu_count"));
  if (count == nullptr) return {};
  Counts counts;
  const auto executed = [&](const char* what, unsigned long long* bytes = nullptr) {
    return count("executed", device, what, bytes);
  };
  counts.kernels = executed("kernel");
  for (const char* what : {"gemm", "batched-gemm", "grouped-gemm"}) counts.gemms += executed(what);
  counts.graphs = count("called", device, "graph", nullptr);
  for (const char* what : {"host-wait.stream", "host-wait.event", "host-wait.device", "host-wait.memcpy"}) {
    counts.waits += count("called", device, what, nullptr);
  }
  counts.nccl_calls = executed("nccl");
  for (const char* what : {"nccl.AllReduce", "nccl.ReduceScatter", "nccl.Reduce", "nccl.AllGather", "nccl.Send"}) {
    unsigned long long bytes = 0;
    counts.nccl_operations += executed(what, &bytes);
    counts.nccl_bytes += bytes;
  }
  return counts;
}

class Comparison {
 public:
  explicit Comparison(const Reference& reference) : reference_(reference) {}

  Status check(const Layout& layout, size_t step, const Logits& logits) {
    for (size_t s = 0; s < logits.size(); ++s) {
      const std::vector<float>& expected = reference_.steps[step][s];
      const float largest = std::abs(*std::ranges::max_element(expected, {}, [](float x) { return std::abs(x); }));
      float difference = 0;
      for (size_t i = 0; i < expected.size(); ++i)
        difference = std::max(difference, std::abs(logits[s][i] - expected[i]));
      largest_ = std::max(largest_, difference / largest);
      if (!(difference <= kTolerance * largest)) {
        return failed("{}: step {}, sequence {}: logits differ by {} of {}", layout.text(), step, s, difference,
                      largest);
      }
      const auto chosen = static_cast<size_t>(best(logits[s])), first = static_cast<size_t>(best(expected));
      if (chosen != first && expected[first] - expected[chosen] >= 2 * kTolerance * largest) {
        return failed("{}: step {}, sequence {}: token {} instead of {}", layout.text(), step, s, chosen, first);
      }
    }
    return ok_status();
  }
  float largest() const { return largest_; }

 private:
  const Reference& reference_;
  float largest_ = 0;
};

// All steps along the reference's tokens; each decode step twice.
Result<std::vector<Logits>> run_steps(Model& model, const Layout& layout, const Reference& reference) {
  std::vector<Logits> steps;
  Status failure;
  std::vector<int64_t> done(kNumSequences, 0);
  Tokens tokens = reference.tokens;
  for (int64_t step = 0; step <= kDecodeSteps; ++step) {
    for (size_t s = 0; s < kNumSequences; ++s) {
      const int64_t size = std::ssize(reference.tokens[s]) - (kDecodeSteps + 1) + step;
      tokens[s].assign(reference.tokens[s].begin(), reference.tokens[s].begin() + size);
    }
    OCTET_ASSIGN_OR_RETURN(Logits logits, model.run(tokens, done));
    if (step > 0) {
      OCTET_ASSIGN_OR_RETURN(const Logits again, model.run(tokens, done));
      // Only rank 0 has logits: it goes on, for the others do.
      if (again != logits) failure = failed("{}: step {} gives other bits when it is run again", layout.text(), step);
    }
    for (size_t s = 0; s < kNumSequences; ++s) done[s] = std::ssize(tokens[s]);
    steps.push_back(std::move(logits));
  }
  OCTET_RETURN_IF_ERROR(failure);
  return steps;
}

std::vector<Layout> layouts_of(int world, const ModelConfig& config, bool all) {
  std::vector<Topology> topologies;
  const ModelShape shape{config.num_kv_heads, config.num_experts};
  if (const auto topology = make_topology({.world = world}, shape); topology.ok()) topologies.push_back(*topology);
  for (const int tp : {1, 2, 4, 8}) {
    for (const int etp : {1, 2, 4, 8}) {
      for (int ep = 1; all && ep <= world; ++ep) {
        const auto topology = make_topology({.world = world, .tp = tp, .ep = ep, .etp = etp}, shape);
        if (topology.ok() && *topology != topologies[0]) topologies.push_back(*topology);
      }
    }
  }
  std::vector<Layout> layouts;
  for (const Topology& topology : topologies) {
    layouts.push_back({topology, ExchangePolicy::kAllToAll});
    const bool replicated_offered = config.experts_per_token <= 2 || topology.ep == 1;
    if (replicated_offered) layouts.push_back({topology, ExchangePolicy::kReplicated});
  }
  if (layouts[1].exchange == ExchangePolicy::kReplicated)
    layouts.push_back({topologies[0], layouts[1].exchange, false});
  return layouts;
}

// One more decode step along the reference, counted; every rank calls it.
Status count_step(Model& model, const Layout& layout, const Reference& reference, const ModelConfig& config,
                  CommWorld& world) {
  Tokens tokens = reference.tokens;
  std::vector<int64_t> done;
  for (auto& ids : tokens) {
    ids.pop_back();
    done.push_back(std::ssize(ids) - 1);
  }
  const Counts before = counts_so_far(world.local_rank());
  OCTET_RETURN_IF_ERROR(model.run(tokens, done).status());
  const Counts step = counts_so_far(world.local_rank()) - before;
  if (world.rank() == 0) {
    std::printf(
        "%-44s kernels %4llu, products %3llu, graph replays %llu, host waits %2llu, NCCL calls %3llu of %3llu "
        "operations, %8llu bytes\n",
        layout.text().c_str(), step.kernels + 0ULL, step.gemms + 0ULL, step.graphs + 0ULL, step.waits + 0ULL,
        step.nccl_calls + 0ULL, step.nccl_operations + 0ULL, step.nccl_bytes + 0ULL);
  }
  // CommWorld::wait asks events, so no call of the step blocks.
  const uint64_t expected_graphs = layout.exchange == ExchangePolicy::kReplicated && layout.graphs ? 1 : 0;
  if (step.graphs != expected_graphs || step.waits != 0) {
    return failed("{}: {} graph launches, {} blocking calls", layout.text(), step.graphs, step.waits);
  }
  const Topology& t = layout.topology;
  if (world.size() == 1 || layout.exchange != ExchangePolicy::kReplicated || t.tp != world.size() ||
      t.ep != world.size())
    return ok_status();
  // Two sums a layer over all ranks, of the padded rows, and the shard of the logits to rank 0.
  constexpr uint64_t kPaddedRows = std::bit_ceil(kNumSequences);
  const uint64_t sums = 2 * static_cast<uint64_t>(config.num_layers) * kPaddedRows *
                        static_cast<uint64_t>(config.hidden_size) * sizeof(float);
  const uint64_t logits =
      world.rank() == 0
          ? 0
          : kNumSequences * sizeof(float) *
                static_cast<uint64_t>(near_equal_part(config.vocab_size, t.tp, t.tp_index(world.rank())).size());
  if (step.nccl_bytes != sums + logits) {
    return failed("{}: NCCL was given {} bytes, the plan has {}", layout.text(), step.nccl_bytes, sums + logits);
  }
  return ok_status();
}

Status run(const std::string& path, bool all) {
  OCTET_ASSIGN_OR_RETURN(std::unique_ptr<CommWorld> world, make_comm_world());
  OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"cuda", 1, "", world->local_rank()}));
  OCTET_ASSIGN_OR_RETURN(world, make_device_world(std::move(world), backend->memory_kind()));
  OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(path));
  Reference reference;
  reference.tokens.resize(kNumSequences);
  Status status;
  if (world->rank() == 0) {
    auto alone = run_alone(checkpoint, *backend, random_prompts(checkpoint.config().vocab_size));
    status = alone.status();
    if (alone.ok()) reference = *std::move(alone);
  }
  OCTET_RETURN_IF_ERROR(agree(*world, status));
  share_tokens(*world, reference.tokens);
  Comparison comparison(reference);
  std::map<ExchangePolicy, std::vector<Logits>> first_logits;  // of the default topology
  for (const Layout& layout : layouts_of(world->size(), checkpoint.config(), all)) {
    OCTET_ASSIGN_OR_RETURN(const auto model, Model::create(checkpoint, layout, *backend, *world));
    const auto steps = run_steps(*model, layout, reference);
    const Status counted = count_step(*model, layout, reference, checkpoint.config(), *world);
    status = steps.ok() ? counted : steps.status();
    for (size_t step = 0; steps.ok() && world->rank() == 0 && step < steps->size() && status.ok(); ++step) {
      status = comparison.check(layout, step, (*steps)[step]);
    }
    if (steps.ok() && layout.graphs) first_logits.emplace(layout.exchange, *steps);
    if (steps.ok() && !layout.graphs && *steps != first_logits[layout.exchange]) {
      status = failed("{}: other bits than the same layout's replayed steps", layout.text());
    }
    OCTET_RETURN_IF_ERROR(agree(*world, status));
  }
  if (world->rank() == 0) std::printf("largest difference %.2g of the largest logit\n", comparison.largest());
  return ok_status();
}

}  // namespace
}  // namespace octet

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  const octet::Status status = octet::run(argv[1], std::string(argv[2]) == "all");
  if (!status.ok()) std::fprintf(stderr, "rank %d: %s\n", octet::launched_rank(), status.message().c_str());
  return status.exit_code();
}
