// A model over the ranks of a job, each with a GPU, and the layouts that are tried: what the programs of this folder
// have in common.
#pragma once

#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "comm/comm_world.h"
#include "kernels/backend.h"
#include "runtime/model/mixtral.h"

namespace octet {

constexpr size_t kNumSequences = 3;
constexpr int64_t kPagesEach = 1;

using Logits = std::vector<std::vector<float>>;  // of each sequence
using Tokens = std::vector<std::vector<TokenId>>;

struct Layout {
  Topology topology;
  ExchangePolicy exchange = ExchangePolicy::kAuto;
  bool graphs = true;
  bool keeps_rows = false;  // whose experts are here, in steps of any size

  std::string text() const {
    const Topology& t = topology;
    return fmt::format("tp {} dp {} ep {} etp {} x{} {}{}", t.tp, t.dp, t.ep, t.etp, t.replicas,
                       exchange == ExchangePolicy::kAllToAll ? "all-to-all" : "replicated",
                       !graphs      ? " eager"
                       : keeps_rows ? " own rows stay"
                                    : "");
  }
};

inline Tokens random_prompts(int64_t vocab) {
  std::mt19937 random(11);
  Tokens prompts(kNumSequences);
  for (auto& prompt : prompts) {
    prompt.resize(1 + random() % 12);
    for (TokenId& id : prompt) id = static_cast<TokenId>(random() % static_cast<uint64_t>(vocab));
  }
  return prompts;
}

// The tokens from `done` on of every sequence, with the last one's logits; sequence s lives in dp group s % dp.
inline StepPlan plan_of(const Tokens& tokens, const std::vector<int64_t>& done, const Topology& topology) {
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
    if (layout.keeps_rows) options.least_kept_rows = 1;
    options.load.format = DType::kBF16;
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

inline std::vector<Layout> layouts_of(int world, const ModelConfig& config, bool all) {
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
  const auto replicated_offered = [&](const Topology& topology) {
    return config.experts_per_token <= 2 || topology.ep == 1;
  };
  std::vector<Layout> layouts;
  for (const Topology& topology : topologies) {
    layouts.push_back({topology, ExchangePolicy::kAllToAll});
    const bool rows_can_stay = config.experts_per_token <= 2 && topology.ep > 1 && topology.etp == 1;
    if (rows_can_stay) layouts.push_back({topology, ExchangePolicy::kAllToAll, true, true});
    if (replicated_offered(topology)) layouts.push_back({topology, ExchangePolicy::kReplicated});
  }
  if (replicated_offered(topologies[0])) {
    layouts.push_back({topologies[0], ExchangePolicy::kReplicated, false});
  }
  return layouts;
}

}  // namespace octet
