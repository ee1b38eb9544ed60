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

#include "comm/agreement.h"
#include "comm/comm_factory.h"
#include "comm/local_world.h"
#include "kernels/backend_factory.h"
#include "tests/nccl/rank_model.h"

namespace octet {
namespace {

constexpr int64_t kDecodeSteps = 3;
// Of the largest logit's size. Between layouts only the order of fp32 sums differs, but a sum that rounds to another
// bf16 changes what the next product reads.
constexpr float kTolerance = 0.02F;

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
