// The estimate of what a rank allocates beside weights and KV cache, against what a model really allocates.
#include "runtime/session/memory_plan.h"

#include <gtest/gtest.h>

#include "comm/thread_comm.h"
#include "kernels/reference/reference_backend.h"
#include "parallel/expert_placement.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {
namespace {

class CountingBackend final : public ReferenceBackend {
 public:
  Buffer allocate(size_t bytes) override {
    allocated_ += static_cast<int64_t>(bytes);
    return ReferenceBackend::allocate(bytes);
  }
  Buffer allocate_host(size_t bytes) override { return Buffer::host(bytes); }
  int64_t allocated() const { return allocated_; }

 private:
  int64_t allocated_ = 0;
};

struct Size {
  int64_t rows;
  int64_t logit_rows;
};
constexpr Size kSmall{64, 8}, kLarge{1024, 40};

// Bytes that a model of this size allocates on this rank.
Result<int64_t> allocated(const Checkpoint& checkpoint, CommWorld& world, const Topology& topology, const Size& size) {
  CountingBackend backend;
  ModelComms comms(world, topology);
  MixtralOptions options;
  options.max_rows = size.rows;
  options.max_logit_rows = size.logit_rows;
  options.num_pages = 1;
  options.max_context = kPageTokens;
  OCTET_ASSIGN_OR_RETURN(const auto model, Mixtral::create(checkpoint, topology, backend, comms, options));
  return backend.allocated();
}

// What sums over in-process ranks take, which is the transport's.
int64_t tree_bytes(const ModelConfig& c, const Topology& t, const Size& size) {
  const auto of_group = [](int ranks, int64_t rows) { return ranks > 1 ? ranks * rows : 0; };
  const int64_t gathered = size.rows * std::max(1, t.dp / t.replicas);
  const int64_t assignments = gathered * std::min<int64_t>(c.experts_per_token, c.num_experts / t.ep);
  return 4 * c.hidden_size * (of_group(t.tp, size.rows) + 2 * of_group(t.etp, assignments) + of_group(t.ep, gathered));
}

TEST(MemoryPlan, TheWorkspaceIsWhatAModelAllocates) {
  for (const Topology& topology :
       {Topology{}, Topology{.world = 2, .tp = 2, .ep = 2}, Topology{.world = 2, .dp = 2, .ep = 2},
        Topology{.world = 4, .tp = 2, .dp = 2, .ep = 4}, Topology{.world = 4, .tp = 4, .ep = 2, .etp = 2},
        Topology{.world = 4, .tp = 2, .dp = 2, .ep = 2, .replicas = 2}}) {
    SCOPED_TRACE(::testing::Message() << "tp " << topology.tp << " dp " << topology.dp << " ep " << topology.ep
                                      << " etp " << topology.etp << " replicas " << topology.replicas);
    const Status status = ThreadWorld::run(topology.world, [&](CommWorld& world) -> Status {
      OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(golden_checkpoint("kv8-bf16")));
      ModelConfig c = checkpoint.config();
      c.max_positions = kPageTokens;
      // Of two sizes, so that weights and pages drop out.
      OCTET_ASSIGN_OR_RETURN(const int64_t small, allocated(checkpoint, world, topology, kSmall));
      OCTET_ASSIGN_OR_RETURN(const int64_t large, allocated(checkpoint, world, topology, kLarge));
      const int64_t tree = tree_bytes(c, topology, kLarge) - tree_bytes(c, topology, kSmall);
      const auto grown = static_cast<double>(large - small - tree);
      const ShardPlan shard = make_shard_plan(topology, world.rank(), c.num_kv_heads, c.vocab_size, c.intermediate_size,
                                              place_experts_linear(c.num_experts, topology.ep));
      const auto estimate = [&](const Size& size) {
        return workspace_bytes(c, topology, shard, {false, size.rows, size.logit_rows});
      };
      const auto expected = static_cast<double>(estimate(kLarge) - estimate(kSmall));
      if (expected < grown || expected > 1.1 * grown) return failed("{} estimated, {} allocated", expected, grown);
      return ok_status();
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

}  // namespace
}  // namespace octet::testing
