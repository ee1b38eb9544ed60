// octet bench scaling, octet bench exchange: what many ranks give. Both run under mpirun or octet run.
#include "bench/exchange_bench.h"
#include "bench/scaling_bench.h"
#include "comm/agreement.h"
#include "comm/comm_factory.h"
#include "launcher/commands/commands.h"
#include "launcher/job/job_line.h"
#include "launcher/paths.h"
#include "runtime/base/host_limits.h"

namespace octet {
namespace {

void declare_rounds(CLI::App& app, int& rounds) {
  app.add_option("--rounds", rounds, "measurements, of which the median is reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
}

void declare_device(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "where it runs: " + available_devices() + " (default: the best here)");
}

// The job's ranks with communicators for the memory of their devices, and this rank's device.
struct DeviceJob {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<CommWorld> world;
};

// Completes the options by what the job says.
Result<DeviceJob> open_job(BackendOptions& options) {
  DeviceJob job;
  OCTET_ASSIGN_OR_RETURN(job.world, join_job());
  if (options.num_threads == 0) options.num_threads = std::max(1, num_available_cpus() / job.world->local_size());
  options.gpu = job.world->local_rank();
  auto backend = make_backend(options);
  if (job.world->size() > 1) OCTET_RETURN_IF_ERROR(agree(*job.world, backend.status()));
  OCTET_ASSIGN_OR_RETURN(job.backend, std::move(backend));
  OCTET_ASSIGN_OR_RETURN(job.world, make_device_world(std::move(job.world), job.backend->memory_kind()));
  report_stage(RankStage::kJoined);
  return job;
}

class ScalingCommand final : public Command {
 public:
  const char* name() const override { return "bench scaling"; }
  const char* summary() const override { return "How a model's speed grows with ranks, by layout and phase"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet run --ranks 4 -- bench scaling --model /tmp/small\n"
           "  octet run --ranks 2 -- bench scaling --worlds 1,2 --etp 1 --exchange auto --streams 16 --json\n"
           "Layouts of fewer ranks run on the job's first ones, in turns. bench/README.md defines every figure.";
  }

  void declare(CLI::App& app) override {
    const auto count = [&app](const char* flag, int64_t& value, const char* help) {
      app.add_option(flag, value, help)->check(CLI::Range(1, 1 << 20))->capture_default_str()->type_name("N");
    };
    app.add_option("--model", model_, "directory of a checkpoint")->type_name("DIR");
    app.add_option("--worlds", options_.worlds, "numbers of ranks (default: 1, 2, 4, ... up to the job's)")
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 16));
    app.add_option("--etp", options_.etps, "ranks that share a place's experts (default: all that fit)")
        ->delimiter(',')
        ->check(CLI::IsMember({1, 2, 4, 8}));
    app.add_option("--exchange", exchanges_, "row layouts: auto, all-to-all, replicated")
        ->delimiter(',')
        ->transform(CLI::CheckedTransformer(kExchanges).description(""))
        ->type_name("NAME")
        ->default_str("auto");
    app.add_option("--exchange-dtype", options_.exchange_dtype, "precision of what experts take and give: fp32, bf16")
        ->transform(CLI::CheckedTransformer(kDTypes).description(""))
        ->type_name("NAME")
        ->default_str("fp32");
    app.add_option("--streams", options_.streams, "numbers of streams that decode at once")
        ->delimiter(',')
        ->check(CLI::Range(1, 4096))
        ->default_str("1,16");
    count("--context", options_.prompt_tokens, "prompt tokens of each stream that decodes");
    count("--steps", options_.steps, "decoding steps of one measurement");
    app.add_option("--prompt-tokens", options_.prefill_tokens, "tokens of the prompt whose prefill is timed; 0: none")
        ->check(CLI::Range(0, 1 << 20))
        ->capture_default_str();
    app.add_option("--threads", options_.threads,
                   "of all ranks of a layout together (default: the affinity mask and quota)")
        ->check(CLI::Range(1, 1024))
        ->type_name("N");
    declare_device(app, options_.backend.device);
    app.add_option("--isa", options_.backend.isa, "instruction set of the cpu device (default: the best here)")
        ->type_name("NAME");
    app.add_option("--weights", options_.weights, "convert weights: bf16, f16 (default: as the file has them)")
        ->transform(CLI::CheckedTransformer(kWeights).description(""))
        ->type_name("NAME");
    declare_rounds(app, options_.rounds);
    app.add_flag("--json", options_.json, "print one JSON object");
  }

  Status run() override {
    options_.model = model_.empty() ? default_model() : std::filesystem::path(model_);
    if (!exchanges_.empty()) options_.exchanges = exchanges_;
    OCTET_ASSIGN_OR_RETURN(auto job, open_job(options_.backend));
    job.backend.reset();  // every layout makes its own
    return run_scaling_bench(*job.world, options_);
  }

 private:
  inline static const std::map<std::string, ExchangePolicy> kExchanges{{"auto", ExchangePolicy::kAuto},
                                                                       {"all-to-all", ExchangePolicy::kAllToAll},
                                                                       {"replicated", ExchangePolicy::kReplicated}};
  inline static const std::map<std::string, DType> kDTypes{{"fp32", DType::kF32}, {"bf16", DType::kBF16}};
  inline static const std::map<std::string, DType> kWeights{{"bf16", DType::kBF16}, {"f16", DType::kF16}};

  std::string model_;
  std::vector<ExchangePolicy> exchanges_;
  ScalingBenchOptions options_;
};

class ExchangeCommand final : public Command {
 public:
  const char* name() const override { return "bench exchange"; }
  const char* summary() const override { return "How fast rows reach their experts, beside MPI's own all-to-all"; }
  const char* examples() const override {
    return "Examples:\n  octet run --ranks 2 -- bench exchange\n  octet run --ranks 8 -- bench exchange --rows 512 "
           "--json";
  }

  void declare(CLI::App& app) override {
    app.add_option("--rows", options_.row_counts, "rows that every rank brings")
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 20))
        ->default_str("64,128,256,512,1024,2048,4096");
    app.add_option("--hidden", options_.hidden, "elements of a row")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
    declare_device(app, backend_.device);
    app.add_option("--threads", backend_.num_threads,
                   "of a rank (default: the affinity mask and quota, shared among a host's ranks)")
        ->check(CLI::Range(1, 1024))
        ->type_name("N");
    declare_rounds(app, options_.rounds);
    app.add_flag("--json", options_.json, "print one JSON object");
  }

  Status run() override {
    OCTET_ASSIGN_OR_RETURN(auto job, open_job(backend_));
    return run_exchange_bench(*job.world, *job.backend, options_);
  }

 private:
  BackendOptions backend_;
  ExchangeBenchOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_bench_scaling_command() { return std::make_unique<ScalingCommand>(); }
std::unique_ptr<Command> make_bench_exchange_command() { return std::make_unique<ExchangeCommand>(); }

}  // namespace octet
