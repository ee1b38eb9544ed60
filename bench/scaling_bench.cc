#include "bench/scaling_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bench/scaling_report.h"
#include "bench/timing.h"
#include "comm/agreement.h"
#include "runtime/base/host_limits.h"

namespace octet {
namespace {

class ScalingBench {
 public:
  ScalingBench(CommWorld& world, const ScalingBenchOptions& options) : world_(world), options_(options) {}

  Status run() {
    OCTET_RETURN_IF_ERROR(agree(world_, list_layouts()));
    OCTET_RETURN_IF_ERROR(agree(world_, load()));
    for (const Workload& workload : workloads()) OCTET_RETURN_IF_ERROR(measure(workload));
    if (world_.rank() != 0) return ok_status();
    const int64_t element_bytes = dtype_size(options_.exchange_dtype);
    if (!options_.json) {
      fmt::print("{}", scaling_table(lines_, config_, element_bytes));
      return ok_status();
    }
    const nlohmann::ordered_json json = {{"benchmark", "scaling"},
                                         {"model", options_.model.filename().string()},
                                         {"exchange_dtype", dtype_name(options_.exchange_dtype)},
                                         {"rounds", options_.rounds},
                                         {"cores", num_available_cpus()},
                                         {"results", scaling_json(lines_, config_, element_bytes)}};
    fmt::print("{}\n", json.dump(2));
    return ok_status();
  }

 private:
  // A layout, and its model on the ranks that take part.
  struct Contender {
    ScaledLayout layout;
    std::unique_ptr<ScaledModel> model;
  };

  Status list_layouts();
  Status add_layouts(int num_ranks, int threads);
  Status load();
  std::vector<Workload> workloads() const;
  Status measure(const Workload& workload);
  Result<std::vector<TokenId>> warm_up(const Contender& contender, const Workload& workload);
  Status check_tokens(const std::vector<std::vector<TokenId>>& tokens) const;
  Result<double> time_work(const Contender& contender, const Workload& workload, WorkCost& cost);
  WorkCost mean_over_ranks(const WorkCost& mine, int num_ranks);
  Streams streams_of(const Workload& workload, const Contender& contender) const {
    return {workload.streams, workload.prompt_tokens, workload.steps + 1, config_.vocab_size,
            contender.layout.topology.dp};
  }

  CommWorld& world_;
  const ScalingBenchOptions& options_;
  ModelConfig config_;
  std::optional<Checkpoint> checkpoint_;
  std::vector<Contender> contenders_;
  std::vector<ScalingLine> lines_;
  std::vector<TokenId> first_tokens_;  // of the workload under way, of every stream
};

Status ScalingBench::list_layouts() {
  OCTET_ASSIGN_OR_RETURN(checkpoint_, Checkpoint::open(options_.model));
  config_ = checkpoint_->config();
  std::vector<int> worlds = options_.worlds;
  for (int world = 1; options_.worlds.empty() && world <= world_.size(); world *= 2) worlds.push_back(world);
  const int threads = options_.threads > 0 ? options_.threads : num_available_cpus();
  for (const int num_ranks : worlds) {
    if (num_ranks > world_.size()) return invalid_input("{} ranks: the job has {}", num_ranks, world_.size());
    OCTET_RETURN_IF_ERROR(add_layouts(num_ranks, std::max(1, threads / num_ranks)));
  }
  return ok_status();
}

// Every way to cut the experts over all of the ranks.
Status ScalingBench::add_layouts(int num_ranks, int threads) {
  const size_t before = contenders_.size();
  for (const int etp : {1, 2, 4, 8}) {
    const bool wanted = options_.etps.empty() || num_ranks == 1 || std::ranges::count(options_.etps, etp) > 0;
    if (!wanted || num_ranks % etp != 0) continue;
    const auto topology = make_topology({.world = num_ranks, .ep = num_ranks / etp, .etp = etp},
                                        {config_.num_kv_heads, config_.num_experts});
    if (!topology.ok()) continue;
    for (const ExchangePolicy exchange : options_.exchanges) {
      contenders_.push_back({{*topology, exchange, threads}, nullptr});
      if (num_ranks == 1) break;  // nothing is exchanged
    }
  }
  if (contenders_.size() > before) return ok_status();
  return invalid_input("{} ranks: no layout of those asked for fits", num_ranks);
}

Status ScalingBench::load() {
  const int64_t most_streams = *std::ranges::max_element(options_.streams);
  for (Contender& contender : contenders_) {
    if (world_.rank() >= contender.layout.topology.world) continue;
    MixtralOptions model;
    model.max_rows = std::max({options_.prefill_tokens, most_streams, int64_t{512}});
    model.max_logit_rows = most_streams;
    model.exchange = contender.layout.exchange;
    model.exchange_dtype = options_.exchange_dtype;
    model.load.format = options_.weights;
    for (const Workload& workload : workloads()) {
      model.num_pages = std::max(model.num_pages, streams_of(workload, contender).pages_of_group());
      model.max_context = std::max(model.max_context, workload.prompt_tokens + workload.steps + 1);
    }
    if (model.max_context > config_.max_positions) {
      return invalid_input("{} tokens: the checkpoint's context is {}", model.max_context, config_.max_positions);
    }
    OCTET_ASSIGN_OR_RETURN(contender.model,
                           ScaledModel::create(world_, *checkpoint_, contender.layout, options_.backend, model));
  }
  checkpoint_.reset();
  return ok_status();
}

std::vector<Workload> ScalingBench::workloads() const {
  std::vector<Workload> workloads;
  for (const int64_t streams : options_.streams) {
    workloads.push_back({streams, options_.prompt_tokens, options_.steps});
  }
  if (options_.prefill_tokens > 0) workloads.push_back({1, options_.prefill_tokens, 0});
  return workloads;
}

// Reads the prompts and does the work once.
Result<std::vector<TokenId>> ScalingBench::warm_up(const Contender& contender, const Workload& workload) {
  const Streams streams = streams_of(workload, contender);
  OCTET_ASSIGN_OR_RETURN(std::vector<TokenId> tokens, contender.model->prefill(streams));
  if (workload.is_prefill()) return tokens;
  return contender.model->decode(streams, tokens, workload.steps);
}

Status ScalingBench::check_tokens(const std::vector<std::vector<TokenId>>& tokens) const {
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i] == tokens[0] || !contenders_[i].model->on_host()) continue;
    return failed("{} gives other tokens than {}", contenders_[i].layout.text(), contenders_[0].layout.text());
  }
  return ok_status();
}

Result<double> ScalingBench::time_work(const Contender& contender, const Workload& workload, WorkCost& cost) {
  const Streams streams = streams_of(workload, contender);
  const Stopwatch stopwatch(BenchClock::kWall, 1);
  const WorkCost before = contender.model->cost();
  Status status;
  const double seconds = stopwatch.time([&] {
    const auto tokens = workload.is_prefill() ? contender.model->prefill(streams)
                                              : contender.model->decode(streams, first_tokens_, workload.steps);
    status = tokens.status();
  });
  OCTET_RETURN_IF_ERROR(status);
  cost += contender.model->cost() - before;
  return seconds;
}

// Ranks that take no part bring zeros.
WorkCost ScalingBench::mean_over_ranks(const WorkCost& mine, int num_ranks) {
  WorkCost mean;
  for (const auto& bytes : world_.host().all_gather(std::as_bytes(std::span(&mine, 1)))) {
    WorkCost theirs;
    std::memcpy(&theirs, bytes.data(), sizeof(theirs));
    mean += theirs;
  }
  for (double& seconds : mean.seconds) seconds /= num_ranks;
  for (double& bytes : mean.bytes) bytes /= num_ranks;
  mean.waiting /= num_ranks;
  return mean;
}

Status ScalingBench::measure(const Workload& workload) {
  std::vector<std::vector<TokenId>> tokens;
  std::vector<std::vector<double>> seconds(contenders_.size());
  std::vector<WorkCost> costs(contenders_.size());
  const auto takes_part = [&](const Contender& contender) { return world_.rank() < contender.layout.topology.world; };
  for (const Contender& contender : contenders_) {
    world_.host().barrier();
    if (!takes_part(contender)) continue;
    OCTET_ASSIGN_OR_RETURN(tokens.emplace_back(), warm_up(contender, workload));
  }
  OCTET_RETURN_IF_ERROR(agree(world_, world_.rank() == 0 ? check_tokens(tokens) : ok_status()));
  // What is fed does not change the cost much, but it should be the model's own: continue from the same first tokens.
  if (!tokens.empty()) first_tokens_.assign(tokens.back().begin(), tokens.back().begin() + workload.streams);
  for (int round = 0; round < options_.rounds; ++round) {
    for (size_t i = 0; i < contenders_.size(); ++i) {
      world_.host().barrier();
      if (!takes_part(contenders_[i])) continue;
      OCTET_ASSIGN_OR_RETURN(const double time, time_work(contenders_[i], workload, costs[i]));
      seconds[i].push_back(time);
    }
  }
  for (size_t i = 0; i < contenders_.size(); ++i) {
    const ScaledLayout& layout = contenders_[i].layout;
    const WorkCost cost = mean_over_ranks(costs[i], layout.topology.world);
    if (world_.rank() != 0) continue;
    const int64_t rows = workload.is_prefill() ? workload.prompt_tokens
                                               : (workload.streams + layout.topology.dp - 1) / layout.topology.dp;
    lines_.push_back({workload, layout, contenders_[i].model->row_layout(rows), seconds[i], cost,
                      median(seconds[0]) / median(seconds[i])});
  }
  return ok_status();
}

}  // namespace

Status run_scaling_bench(CommWorld& world, const ScalingBenchOptions& options) {
  return ScalingBench(world, options).run();
}

}  // namespace octet
