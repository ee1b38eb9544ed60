// The numeric contract over ranks: any layout, row layout and placement gives the bits of one rank. Ranks are threads
// here.
#include <gtest/gtest.h>

#include <mutex>
#include <random>

#include "comm/thread_comm.h"
#include "parallel/expert_placement.h"
#include "tests/model/reference_experts.h"

namespace octet::testing {
namespace {

using Rows = std::vector<std::vector<float>>;
using Experts = std::vector<std::vector<int32_t>>;
using Prompts = std::vector<std::vector<TokenId>>;

struct JobOptions {
  Topology topology;
  ExchangePolicy exchange = ExchangePolicy::kAuto;
  std::vector<std::vector<int32_t>> experts_of_place;
  int64_t chunk = 1 << 20;  // rows of one sequence in one step
  DType exchange_dtype = DType::kF32;
  ExpertLoad* expert_load = nullptr;  // receives what rank 0 collects in the last step
  Experts* experts = nullptr;         // receives the choices behind each prompt's logits
};

constexpr int64_t kPagesOfSequence = 4;

// The plan of step `step` of all prompts, each cut into chunks; sequence s lives in dp group s % dp. False: all done.
bool make_plan(const Prompts& prompts, const JobOptions& job, int64_t step, StepPlan& plan) {
  const size_t dp = static_cast<size_t>(job.topology.dp);
  plan.groups.assign(dp, {});
  bool any = false;
  for (size_t s = 0; s < prompts.size(); ++s) {
    GroupPlan& group = plan.groups[s % dp];
    const int64_t size = std::ssize(prompts[s]);
    const int64_t begin = std::min(step * job.chunk, size);
    const int64_t end = std::min(begin + job.chunk, size);
    if (begin == end) continue;
    any = true;
    group.sequences.push_back(
        {static_cast<int32_t>(group.num_rows()), static_cast<int32_t>(end - begin), static_cast<int32_t>(begin)});
    group.token_ids.insert(group.token_ids.end(), prompts[s].begin() + begin, prompts[s].begin() + end);
    std::vector<int32_t> pages(kPagesOfSequence);
    std::iota(pages.begin(), pages.end(), static_cast<int32_t>(s / dp) * static_cast<int32_t>(kPagesOfSequence));
    group.page_tables.push_back(pages);
    if (end == size) group.logit_rows.push_back(static_cast<int32_t>(group.num_rows()) - 1);
  }
  return any;
}

// Which prompts' logits a plan's result holds, in its order.
std::vector<size_t> prompts_of_logits(const Prompts& prompts, const JobOptions& job, int64_t step) {
  std::vector<size_t> order;
  const size_t dp = static_cast<size_t>(job.topology.dp);
  for (size_t g = 0; g < dp; ++g) {
    for (size_t s = g; s < prompts.size(); s += dp) {
      const int64_t size = std::ssize(prompts[s]);
      if (size > step * job.chunk && size <= (step + 1) * job.chunk) order.push_back(s);
    }
  }
  return order;
}

// Runs the prompts on the ranks of one job; the last token's logits of each.
Rows run_job(const std::string& name, const Prompts& prompts, const JobOptions& job) {
  Rows rows(prompts.size());
  const Status status = ThreadWorld::run(job.topology.world, [&](CommWorld& world) -> Status {
    OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(golden_checkpoint(name)));
    OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"cpu", 1, ""}));
    ModelComms comms(world, job.topology);
    MixtralOptions options;
    options.max_rows = 1024;
    options.max_logit_rows = 64;
    options.num_pages = kPagesOfSequence * std::ssize(prompts);
    options.max_context = kPagesOfSequence * kPageTokens;
    options.exchange = job.exchange;
    options.exchange_dtype = job.exchange_dtype;
    options.experts_of_place = job.experts_of_place;
    OCTET_ASSIGN_OR_RETURN(const auto model, Mixtral::create(checkpoint, job.topology, *backend, comms, options));
    StepPlan plan;
    plan.wants_totals = job.expert_load != nullptr;
    plan.wants_experts = job.experts != nullptr;
    if (job.experts != nullptr && world.rank() == 0) job.experts->assign(prompts.size(), {});
    for (int64_t step = 0; make_plan(prompts, job, step, plan); ++step) {
      OCTET_ASSIGN_OR_RETURN(const StepResult result, model->run(plan));
      if (world.rank() != 0) continue;
      if (job.expert_load != nullptr) *job.expert_load = result.totals->expert_load;
      const float* logits = result.logits.as<float>();
      const int32_t* experts = result.experts.data();
      const auto per_row = std::ssize(result.experts) / std::max<int64_t>(1, result.logits.rows());
      for (const size_t s : prompts_of_logits(prompts, job, step)) {
        rows[s].assign(logits, logits + model->vocab_size());
        logits += model->vocab_size();
        if (job.experts == nullptr) continue;
        (*job.experts)[s].assign(experts, experts + per_row);
        experts += per_row;
      }
    }
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
  return rows;
}

Prompts random_prompts(size_t count, int64_t vocab, uint32_t seed) {
  std::mt19937 random(seed);
  Prompts prompts(count);
  for (auto& prompt : prompts) {
    prompt.resize(1 + random() % 40);
    for (TokenId& id : prompt) id = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  }
  return prompts;
}

std::vector<Topology> layouts_of(int world, const ModelConfig& config) {
  std::vector<Topology> layouts;
  for (const int tp : {1, 2, 4, 8}) {
    for (const int etp : {1, 2, 4, 8}) {
      for (int ep = 1; ep <= config.num_experts && ep * etp <= world; ++ep) {
        if (world % tp != 0) continue;
        const auto topology = make_topology({world, tp, 0, ep, etp}, {config.num_kv_heads, config.num_experts});
        if (topology.ok()) layouts.push_back(*topology);
      }
    }
  }
  return layouts;
}

class RanksTest : public ::testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  RanksTest() : name_(std::get<0>(GetParam())), world_(std::get<1>(GetParam())) {
    auto checkpoint = Checkpoint::open(golden_checkpoint(name_));
    OCTET_CHECK(checkpoint.ok());
    config_ = checkpoint->config();
    prompts_ = random_prompts(7, config_.vocab_size, 11);
    expected_ = run_job(name_, prompts_, {});
  }

  std::vector<ExchangePolicy> policies(const Topology& topology) const {
    if (config_.experts_per_token > 2 && topology.ep > 1) return {ExchangePolicy::kAllToAll};
    return {ExchangePolicy::kAllToAll, ExchangePolicy::kReplicated};
  }

  std::string name_;
  int world_;
  ModelConfig config_;
  Prompts prompts_;
  Rows expected_;
};

std::string describe(const Topology& t, ExchangePolicy policy) {
  return fmt::format("tp {} dp {} ep {} etp {} replicas {}, {}", t.tp, t.dp, t.ep, t.etp, t.replicas,
                     policy == ExchangePolicy::kAllToAll ? "all-to-all" : "replicated");
}

TEST_P(RanksTest, EveryLayoutGivesTheBitsOfOneRank) {
  for (const Topology& topology : layouts_of(world_, config_)) {
    for (const ExchangePolicy policy : policies(topology)) {
      EXPECT_EQ(run_job(name_, prompts_, {topology, policy, {}}), expected_) << describe(topology, policy);
    }
  }
}

// Whoever holds the rows, each is counted once; in the last layer only those whose logits are wanted. The choices
// behind the logits are told in their order.
TEST_P(RanksTest, EveryLayoutTellsTheExpertsOfItsRowsOnce) {
  int64_t num_rows = 0;
  Experts expected_experts;
  ReferenceExperts reference(golden_checkpoint(name_));
  for (const auto& prompt : prompts_) expected_experts.push_back(reference.of(prompt).back());
  for (const auto& prompt : prompts_) num_rows += std::ssize(prompt);
  ExpertLoad expected;
  JobOptions job;
  job.expert_load = &expected;
  run_job(name_, prompts_, job);
  job.chunk = 9;
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    int64_t tokens = 0;
    for (int64_t e = 0; e < config_.num_experts; ++e) tokens += expected.tokens(layer, e);
    EXPECT_EQ(tokens, config_.experts_per_token *
                          (layer + 1 < config_.num_layers ? num_rows : static_cast<int64_t>(prompts_.size())));
  }
  for (const Topology& topology : layouts_of(world_, config_)) {
    for (const ExchangePolicy policy : policies(topology)) {
      ExpertLoad load;
      Experts experts;
      job.experts = &experts;
      job.topology = topology;
      job.exchange = policy;
      job.expert_load = &load;
      run_job(name_, prompts_, job);
      EXPECT_TRUE(std::ranges::equal(load.all(), expected.all())) << describe(topology, policy);
      EXPECT_EQ(experts, expected_experts) << describe(topology, policy);
    }
  }
}

TEST_P(RanksTest, ChunksAndLonelySequencesGiveTheBitsOfOneRank) {
  const auto topology = make_topology({.world = world_}, {config_.num_kv_heads, config_.num_experts});
  ASSERT_TRUE(topology.ok());
  for (const ExchangePolicy policy : policies(*topology)) {
    for (const int64_t chunk : {1, 7}) {
      EXPECT_EQ(run_job(name_, prompts_, {*topology, policy, {}, chunk}), expected_) << "chunks of " << chunk;
    }
    EXPECT_EQ(run_job(name_, {prompts_[0]}, {*topology, policy, {}}), Rows{expected_[0]});
  }
}

TEST_P(RanksTest, EveryPlacementGivesTheBitsOfOneRank) {
  const auto topology = make_topology({.world = world_}, {config_.num_kv_heads, config_.num_experts});
  ASSERT_TRUE(topology.ok());
  auto round_robin = place_experts_round_robin(config_.num_experts, topology->ep);
  auto with_replicas = round_robin;  // the first two experts stand everywhere
  for (auto& place : with_replicas) {
    for (const int32_t hot : {0, 1}) {
      if (std::find(place.begin(), place.end(), hot) == place.end()) place.push_back(hot);
    }
    std::sort(place.begin(), place.end());
  }
  for (const auto& placement : {round_robin, with_replicas}) {
    for (const ExchangePolicy policy : policies(*topology)) {
      EXPECT_EQ(run_job(name_, prompts_, {*topology, policy, placement}), expected_) << describe(*topology, policy);
    }
  }
}

class Bf16RanksTest : public RanksTest {};

TEST_P(Bf16RanksTest, EveryLayoutGivesTheBitsOfOneRank) {
  JobOptions job;
  job.exchange_dtype = DType::kBF16;
  const Rows expected = run_job(name_, prompts_, job);
  EXPECT_NE(expected, expected_);
  for (const Topology& topology : layouts_of(world_, config_)) {
    for (const ExchangePolicy policy : policies(topology)) {
      job.topology = topology;
      job.exchange = policy;
      EXPECT_EQ(run_job(name_, prompts_, job), expected) << describe(topology, policy);
    }
  }
  job.chunk = 3;
  EXPECT_EQ(run_job(name_, prompts_, job), expected) << "chunks of 3";
}

std::string case_name(const ::testing::TestParamInfo<std::tuple<std::string, int>>& test) {
  std::string name = fmt::format("{}_{}_ranks", std::get<0>(test.param), std::get<1>(test.param));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Matrix, RanksTest,
                         ::testing::Combine(::testing::Values("kv8-bf16", "kv6-bf16", "odd-bf16-sharded",
                                                              "six-experts-top3-tied", "octet-demo"),
                                            ::testing::Values(1, 2, 3, 4, 6, 8)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(LongMatrix, RanksTest,
                         ::testing::Combine(::testing::Values("kv8-bf16", "kv6-bf16"), ::testing::Values(16)),
                         case_name);

INSTANTIATE_TEST_SUITE_P(Matrix, Bf16RanksTest,
                         ::testing::Combine(::testing::Values("kv8-bf16", "six-experts-top3-tied"),
                                            ::testing::Values(1, 2, 3, 4, 8)),
                         case_name);

}  // namespace
}  // namespace octet::testing
