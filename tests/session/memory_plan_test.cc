// What a model is said to allocate beside weights and KV cache, against what one really allocates.
#include "runtime/session/memory_plan.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>

#include "comm/planned_world.h"
#include "comm/thread_comm.h"
#include "kernels/reference/reference_backend.h"
#include "parallel/expert_placement.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

// Computes on the host whatever it says that it is, and counts what is allocated in the memory of that device.
class CountedReference final : public ReferenceBackend {
 public:
  explicit CountedReference(const PlannedDevice& device) : device_(device) {}
  MemoryKind memory_kind() const override { return device_.memory; }
  bool supports_capture() const override { return device_.captures; }
  Buffer allocate(size_t bytes) override {
    allocated_ += static_cast<int64_t>(bytes);
    return ReferenceBackend::allocate(bytes);
  }
  Buffer allocate_host(size_t bytes) override {
    if (device_.memory == MemoryKind::kHost) allocated_ += static_cast<int64_t>(bytes);
    return Buffer::host(bytes);
  }
  int64_t allocated() const { return allocated_; }

 private:
  PlannedDevice device_;
  int64_t allocated_ = 0;
};

MixtralOptions options_of(int64_t rows, int64_t logit_rows) {
  MixtralOptions options;
  options.max_rows = rows;
  options.max_logit_rows = logit_rows;
  options.max_context = kPageTokens;
  return options;
}

// Every way in which rows travel, in two sizes: in the larger one steps of both layouts occur where the policy is auto,
// and a GPU computes rows that stay beside the exchange.
std::vector<MixtralOptions> all_options() {
  std::vector<MixtralOptions> all;
  for (MixtralOptions options : {options_of(64, 8), options_of(2048, 40)}) {
    for (const ExchangePolicy policy :
         {ExchangePolicy::kAuto, ExchangePolicy::kAllToAll, ExchangePolicy::kReplicated}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        options.exchange = policy;
        options.exchange_dtype = dtype;
        all.push_back(options);
      }
    }
  }
  return all;
}

const std::vector<Topology>& topologies() {
  static const std::vector<Topology> all = {Topology{},
                                            {.world = 2, .tp = 2, .ep = 2},
                                            {.world = 2, .dp = 2, .ep = 2},
                                            {.world = 4, .dp = 4, .ep = 4},
                                            {.world = 4, .tp = 2, .dp = 2, .ep = 4},
                                            {.world = 4, .tp = 4, .ep = 2, .etp = 2},
                                            {.world = 4, .dp = 4, .ep = 2, .etp = 2},
                                            {.world = 4, .tp = 2, .dp = 2, .ep = 2, .replicas = 2}};
  return all;
}

std::string describe(const Topology& t) {
  return fmt::format("tp {} dp {} ep {} etp {} replicas {}", t.tp, t.dp, t.ep, t.etp, t.replicas);
}

std::string describe(const MixtralOptions& o) {
  return fmt::format("{} rows, policy {}, {}", o.max_rows, static_cast<int>(o.exchange), dtype_name(o.exchange_dtype));
}

int64_t weight_bytes(const Checkpoint& checkpoint, int rank, const Topology& topology, const MixtralOptions& options) {
  CountedReference backend(kPlannedHost);
  const ModelConfig& c = checkpoint.config();
  const auto experts =
      options.experts_of_place.empty() ? place_experts_linear(c.num_experts, topology.ep) : options.experts_of_place;
  load_shard_weights(checkpoint,
                     make_shard_plan(topology, rank, c.num_kv_heads, c.vocab_size, c.intermediate_size, experts),
                     backend, options.load);
  return backend.allocated();
}

// That a model of this rank takes as much beside its weights as is planned, whatever `also_planned` gives.
Status check_rank(CommWorld& world, const Topology& topology, const PlannedDevice& device,
                  const std::function<int64_t(const MixtralOptions&)>& also_planned = nullptr,
                  const std::vector<MixtralOptions>& all = all_options()) {
  OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(golden_checkpoint("kv8-bf16")));
  const int64_t weights = weight_bytes(checkpoint, world.rank(), topology, all.front());
  for (const MixtralOptions& options : all) {
    CountedReference backend(device);
    ModelComms comms(world, topology);
    OCTET_ASSIGN_OR_RETURN(const auto model, Mixtral::create(checkpoint, topology, backend, comms, options));
    const int64_t taken = backend.allocated() - weights + (also_planned ? also_planned(options) : 0);
    OCTET_ASSIGN_OR_RETURN(const int64_t planned,
                           Mixtral::working_memory(checkpoint.config(), topology, world.rank(), device, options));
    if (planned != taken) {
      return failed("{}: rank {}: {} planned, {} taken", describe(options), world.rank(), planned, taken);
    }
  }
  return ok_status();
}

TEST(MemoryPlan, TheWorkspaceIsWhatAModelAllocates) {
  for (const Topology& topology : topologies()) {
    const Status status =
        ThreadWorld::run(topology.world, [&](CommWorld& world) { return check_rank(world, topology, kPlannedHost); });
    EXPECT_TRUE(status.ok()) << describe(topology) << ": " << status.message();
  }
}

// Most elements that the experts' products of a step work on.
int64_t product_elements(const ModelConfig& c, const Topology& t, const MixtralOptions& options) {
  // All rows of the expert group meet in either layout where every rank brings as many.
  const int64_t met = options.max_rows * std::max(t.ep * t.etp / t.tp, 1);
  const int64_t assignments = met * std::min<int64_t>(c.experts_per_token, c.num_experts / t.ep);
  const int64_t ffn = c.intermediate_size / t.etp;
  return assignments * (std::max(c.hidden_size, ffn) + std::max(2 * ffn, c.hidden_size));
}

// A GPU's memory is its own: what is on the host does not count, and sums among GPUs are the transport's. The experts'
// products keep operands and results in 16 bits, in areas of up to twice the size.
TEST(MemoryPlan, OfAGpuItIsWhatIsOnTheDevice) {
  const ModelConfig c = Checkpoint::open(golden_checkpoint("kv8-bf16")).value().config();
  for (const Topology& topology : topologies()) {
    for (int rank = 0; rank < topology.world; ++rank) {
      PlannedWorld world(rank, topology.world, MemoryKind::kCuda);
      const Status status = check_rank(world, topology, kPlannedGpu, [&](const MixtralOptions& options) {
        return 4 * product_elements(c, topology, options);
      });
      EXPECT_TRUE(status.ok()) << describe(topology) << ": " << status.message();
    }
  }
}

// What is there for padded rows is a page of the KV cache, in its type.
TEST(MemoryPlan, AGpuThatCapturesHasAPageMore) {
  const ModelConfig c = Checkpoint::open(golden_checkpoint("kv8-bf16")).value().config();
  MixtralOptions options = options_of(1024, 40);
  options.kv_dtype = DType::kBF16;
  const auto planned = [&](const PlannedDevice& device) {
    return Mixtral::working_memory(c, {}, 0, device, options).value();
  };
  EXPECT_EQ(planned(kPlannedGpu) - planned({MemoryKind::kCuda, false}),
            (KvStoreShape{c.num_layers, 1, c.num_kv_heads, c.head_dim, DType::kBF16}.page_bytes()));
}

// An expert that stands in two places has rows in both.
TEST(MemoryPlan, CountsExpertsWhereTheyArePlaced) {
  const Topology two{.world = 2, .dp = 2, .ep = 2};
  std::vector<MixtralOptions> all = all_options();
  for (MixtralOptions& options : all) options.experts_of_place = {{0, 1, 2, 3, 7}, {4, 5, 6, 7}};
  const Status status =
      ThreadWorld::run(two.world, [&](CommWorld& world) { return check_rank(world, two, kPlannedHost, nullptr, all); });
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(MemoryPlan, WhatCannotBeMadeIsRefusedAsTheModelIs) {
  ModelConfig config = Checkpoint::open(golden_checkpoint("kv8-bf16")).value().config();
  config.experts_per_token = 3;
  MixtralOptions options = options_of(64, 8);
  options.exchange = ExchangePolicy::kReplicated;
  const Topology two{.world = 2, .tp = 2, .ep = 2};
  const auto refused = Mixtral::working_memory(config, two, 0, kPlannedHost, options);
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidInput);
  EXPECT_EQ(
      refused.status().message(),
      RowLayoutChooser::create(options.exchange, two, config.num_experts, 3, config.hidden_size, 4).status().message());
}

int64_t most_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024L;
}

// Mixtral 8x22B on 64 ranks, in steps of 8,192 rows.
TEST(MemoryPlan, TakesNeitherTimeNorMemory) {
  ModelConfig config;
  config.hidden_size = 6144;
  config.intermediate_size = 16384;
  config.num_layers = 56;
  config.num_heads = 48;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.vocab_size = 32768;
  config.num_experts = 8;
  config.experts_per_token = 2;
  config.max_positions = 65536;
  const Topology topology{.world = 64, .tp = 8, .dp = 8, .ep = 8, .replicas = 8};
  const MixtralOptions options = [] {
    MixtralOptions with_whole_contexts = options_of(8192, 256);
    with_whole_contexts.max_context = 0;
    return with_whole_contexts;
  }();
  int64_t least = INT64_MAX;
  const int64_t before = most_resident_bytes();
  const auto start = std::chrono::steady_clock::now();
  for (int rank = 0; rank < topology.world; ++rank) {
    least = std::min(least, Mixtral::working_memory(config, topology, rank, kPlannedGpu, options).value());
  }
  const std::chrono::duration<double, std::milli> each = (std::chrono::steady_clock::now() - start) / topology.world;
  RecordProperty("milliseconds_a_rank", std::to_string(each.count()));
  EXPECT_LT(each.count(), 100);
  EXPECT_GT(least, int64_t{1} << 30);
  EXPECT_LT(most_resident_bytes() - before, 16 << 20);
}

}  // namespace
}  // namespace octet::testing
