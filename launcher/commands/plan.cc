// octet plan: what a job would be, without starting it.
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/job/job_flags.h"
#include "launcher/model_flags.h"
#include "launcher/model_options.h"
#include "launcher/output.h"
#include "launcher/plan_text.h"
#include "runtime/base/human_bytes.h"
#include "runtime/session/explain.h"

namespace octet {
namespace {

// Everything that is told of a job.
struct JobPlan {
  std::filesystem::path model;
  ModelConfig config;
  bool has_weights = true;
  Topology topology;
  DType exchange_dtype = DType::kF32;
  std::vector<std::vector<int32_t>> experts_of_place;
  std::vector<RankPlan> ranks;
  std::vector<StepTraffic> traffic;
  std::vector<MemoryPlan> memory;  // empty: nobody said how much there is
};

class PlanCommand final : public Command {
 public:
  const char* name() const override { return "plan"; }
  const char* summary() const override { return "What each rank of a job would hold and send, without starting it"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet plan --ranks 4\n"
           "  octet plan --cluster two-hosts.toml --model ~/Mixtral-8x7B-v0.1 --kv-dtype bf16 --json\n"
           "  octet plan --model configs/models/mixtral-8x7b --cluster configs/clusters/gpus-2x80gb.toml\n"
           "The configuration alone will do. With device_memory_gb in the cluster file, it says what memory goes to.\n"
           "Takes the flags of the job; those that change no rank's share change nothing here.";
  }

  void declare(CLI::App& app) override {
    app_ = &app;
    declare_job_flags(app, job_flags_);
    declare_model_flags(app, model_flags_);
    app.add_flag("--json", json_, "print one JSON object");
  }

  Status run() override {
    OCTET_ASSIGN_OR_RETURN(const ClusterConfig cluster, resolve_job(job_flags_));
    OCTET_RETURN_IF_ERROR(apply_cluster_flags(cluster));
    JobPlan plan;
    const SessionOptions options = session_options(model_flags_);
    plan.model = options.model;
    plan.exchange_dtype = options.exchange_dtype;
    OCTET_ASSIGN_OR_RETURN(const PlannedModel model, open_planned_model(plan.model));
    plan.config = model.config;
    plan.has_weights = model.checkpoint.has_value();
    const ModelConfig& c = plan.config;
    LayoutRequest layout = options.layout;
    layout.world = cluster.layout.world;
    OCTET_ASSIGN_OR_RETURN(plan.topology, make_topology(layout, {c.num_kv_heads, c.num_experts}));
    OCTET_ASSIGN_OR_RETURN(plan.experts_of_place, place_experts(options.placement, c.num_experts, plan.topology.ep));
    OCTET_ASSIGN_OR_RETURN(const RowLayoutChooser chooser,
                           RowLayoutChooser::create(options.exchange, plan.topology, c.num_experts, c.experts_per_token,
                                                    c.hidden_size, dtype_size(options.exchange_dtype)));
    plan.ranks = plan_ranks(c, plan.has_weights ? &*model.checkpoint : nullptr, plan.topology, plan.experts_of_place,
                            options.kv_dtype.value_or(default_kv_dtype()));
    plan.traffic = plan_traffic(c, plan.topology, chooser, options.exchange_dtype, options.engine.prefill_chunk);
    if (cluster.device_memory > 0) {
      OCTET_ASSIGN_OR_RETURN(plan.memory, memory_of(cluster, options, plan));
    }
    const std::vector<std::string> hosts = hosts_of_ranks(cluster);
    return json_ ? print_line(dump_json(as_json(plan, hosts))) : print(as_text(plan, hosts, chooser));
  }

 private:
  // A flag given on the command line beats the cluster file.
  Status apply_cluster_flags(const ClusterConfig& cluster) const {
    for (const auto& [name, value] : cluster.command_flags()) {
      CLI::Option* option = app_->get_option(name);
      if (option->count() > 0) continue;
      try {
        option->add_result(value);
        option->run_callback();
      } catch (const CLI::ParseError& error) {
        return invalid_input("{}: {}", job_flags_.cluster, error.what());
      }
    }
    return ok_status();
  }

  Result<std::vector<MemoryPlan>> memory_of(const ClusterConfig& cluster, const SessionOptions& options,
                                            const JobPlan& plan) const {
    constexpr int64_t kGigabyte = 1'000'000'000;
    MixtralOptions model = model_options(options, default_kv_dtype());
    model.experts_of_place = plan.experts_of_place;
    return plan_memory(plan.config, plan.topology, plan.ranks, cluster.device_memory * kGigabyte,
                       is_for_gpus() ? kPlannedGpu : kPlannedHost, model);
  }

  static std::vector<std::string> hosts_of_ranks(const ClusterConfig& cluster) {
    if (cluster.hosts.empty()) return std::vector<std::string>(static_cast<size_t>(cluster.layout.world), "localhost");
    std::vector<std::string> names;
    for (const size_t host : host_of_ranks(cluster.hosts, cluster.layout.world)) {
      names.push_back(cluster.hosts[host].name);
    }
    return names;
  }

  bool is_for_gpus() const { return model_flags_.device == "cuda"; }
  DType default_kv_dtype() const { return is_for_gpus() ? DType::kBF16 : DType::kF32; }
  std::string device() const { return model_flags_.device.empty() ? "default" : model_flags_.device; }

  std::string as_text(const JobPlan& plan, const std::vector<std::string>& hosts,
                      const RowLayoutChooser& chooser) const {
    std::string text = fmt::format(
        "{}{}\n{}\n", plan.model.string(), plan.has_weights ? "" : " (no weights there: 16 bits each)",
        fmt::join(explain_layout(plan.config, plan.topology, plan.experts_of_place, chooser, plan.exchange_dtype),
                  "\n"));
    for (const StepTraffic& step : plan.traffic) {
      text += fmt::format("{:<8} steps of {} row{}: {}, {} rounds a layer, {} a token sent by a rank\n", step.phase,
                          step.rows, step.rows > 1 ? "s" : "", row_layout_name(step.layout), step.rounds_per_layer,
                          human_bytes(step.bytes_per_token));
    }
    text += fmt::format("  {:<6} {:<16} {:<9} {}\n", "rank", "host", "device", rank_plan_heading());
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      text += fmt::format("  {:<6} {:<16} {:<9} {}\n", rank, hosts[rank], device(), rank_plan_text(plan.ranks[rank]));
    }
    if (!plan.memory.empty()) text += memory_text(plan.config, plan.topology, plan.memory);
    return text;
  }

  nlohmann::ordered_json as_json(const JobPlan& plan, const std::vector<std::string>& hosts) const {
    nlohmann::ordered_json object{{"model", plan.model.string()}, {"layout", layout_json(plan.topology)}};
    for (const StepTraffic& step : plan.traffic) {
      object["phases"].push_back({{"phase", step.phase},
                                  {"rows", step.rows},
                                  {"exchange", row_layout_name(step.layout)},
                                  {"rounds_per_layer", step.rounds_per_layer},
                                  {"bytes_per_token", step.bytes_per_token}});
    }
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      nlohmann::ordered_json entry{{"rank", rank}, {"host", hosts[rank]}, {"device", device()}};
      entry.update(rank_plan_json(plan.ranks[rank]));
      if (!plan.memory.empty()) entry["memory"] = memory_json(plan.memory[rank]);
      object["ranks"].push_back(std::move(entry));
    }
    if (!plan.memory.empty()) object["kv_cache_tokens"] = kv_tokens_of_job(plan.topology, plan.memory);
    return object;
  }

  CLI::App* app_ = nullptr;
  JobFlags job_flags_;
  ModelFlags model_flags_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_plan_command() { return std::make_unique<PlanCommand>(); }

}  // namespace octet
