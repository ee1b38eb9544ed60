// octet bench …: what this machine and this program give.
#include "bench/ceilings.h"
#include "bench/generate_bench.h"
#include "bench/kernels_bench.h"
#include "bench/make_model.h"
#include "kernels/backend_factory.h"
#include "launcher/bench_limits.h"
#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/open_session.h"
#include "launcher/output.h"
#include "runtime/base/host_limits.h"
#include "runtime/base/human_bytes.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

// The flags that the measuring commands share.
template <typename Options>
void declare_measuring(CLI::App& app, Options& options) {
  static const std::map<std::string, BenchClock> kClocks{{"wall", BenchClock::kWall}, {"cpu", BenchClock::kCpu}};
  app.add_option("--rounds", options.rounds, "measurements, of which the median is reported")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--clock", options.clock, "wall, or cpu: the process's CPU time over its threads, for shared machines")
      ->transform(CLI::CheckedTransformer(kClocks).description(""))
      ->default_str("wall")
      ->type_name("NAME");
}

Status check_clock(BenchClock clock, const Backend& backend) {
  if (clock == BenchClock::kWall || backend.memory_kind() == MemoryKind::kHost) return ok_status();
  return invalid_input("--clock cpu: {} works while the processor waits", backend.name());
}

void declare_threads(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "default: as many as the affinity mask and quota allow")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

// machine: where --threads and --isa go.
template <typename Options, typename Machine>
void declare_kernel_flags(CLI::App& app, Options& options, Machine& machine) {
  declare_measuring(app, options);
  declare_threads(app, machine.num_threads);
  app.add_option("--isa", machine.isa, "instruction set (default: the best here)")->type_name("NAME");
  app.add_flag("--json", options.json, "print one JSON object");
}

class CeilingsCommand final : public Command {
 public:
  const char* name() const override { return "bench ceilings"; }
  const char* summary() const override { return "What memory and arithmetic of this machine give at best"; }
  const char* examples() const override { return "Examples:\n  octet bench ceilings --threads 2"; }
  void declare(CLI::App& app) override { declare_kernel_flags(app, options_, options_); }
  Status run() override { return run_ceilings_bench(options_); }

 private:
  CeilingsOptions options_;
};

class KernelsCommand final : public Command {
 public:
  const char* name() const override { return "bench kernels"; }
  const char* summary() const override { return "How near the kernels come to what the device gives"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet bench kernels --device cpu\n"
           "  octet bench kernels --device cuda --device-file h100-sxm --tokens 1,32,512\n"
           "  octet bench kernels --hidden 1024 --ffn 3584 --json\n"
           "bench/README.md defines every figure.";
  }

  void declare(CLI::App& app) override {
    const auto extent = [&app](const char* flag, int64_t& value, const char* help) {
      app.add_option(flag, value, help)->check(CLI::Range(1, 1 << 20))->capture_default_str()->type_name("N");
    };
    const auto extents = [&app](const char* flag, std::vector<int64_t>& values, const char* help) {
      app.add_option(flag, values, help)
          ->delimiter(',')
          ->check(CLI::Range(1, 1 << 20))
          ->type_name("N,N,…")
          ->default_str(fmt::format("{}", fmt::join(values, ",")));
    };
    declare_kernel_flags(app, options_, backend_);
    app.add_option("--device", backend_.device, "what runs: " + available_devices() + " (default: the best here)");
    declare_device_file(app, device_file_);
    extent("--hidden", options_.hidden, "hidden size");
    extent("--ffn", options_.ffn, "ffn size of an expert");
    extent("--heads", options_.num_heads, "query heads, of 128 elements");
    extent("--kv-heads", options_.num_kv_heads, "KV heads");
    extent("--vocab", options_.vocab, "tokens to choose from");
    extents("--tokens", options_.token_counts, "tokens of a product");
    extents("--contexts", options_.context_lengths, "positions of a sequence");
    extent("--weight-mb", options_.weight_megabytes, "weights that calls take in turn, so that no cache holds them");
  }

  Status run() override {
    if (options_.num_heads % options_.num_kv_heads != 0) {
      return invalid_input("--heads {}: a multiple of --kv-heads {} is needed", options_.num_heads,
                           options_.num_kv_heads);
    }
    OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend(backend_));
    OCTET_RETURN_IF_ERROR(check_clock(options_.clock, *backend));
    const int threads = backend_.num_threads > 0 ? backend_.num_threads : num_available_cpus();
    OCTET_ASSIGN_OR_RETURN(const LimitSource limits, make_limit_source({device_file_, 1, backend_.isa, threads,
                                                                        options_.clock, CeilingsOptions().memory_bytes},
                                                                       *backend));
    std::string name(backend->name());
    if (name == "cpu") {
      OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(backend_.isa));
      name = fmt::format("cpu ({}, {} threads)", isa.name, threads);
    }
    return run_kernels_bench(options_, {name, *backend, threads, limits});
  }

 private:
  KernelsBenchOptions options_;
  BackendOptions backend_;
  std::string device_file_;
};

class MakeModelCommand final : public Command {
 public:
  const char* name() const override { return "bench make-model"; }
  const char* summary() const override { return "Write a checkpoint of any shape with random weights"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet bench make-model /tmp/layers4 --shape mixtral-layers4        four layers of Mixtral 8x7B, 12.2 GB\n"
           "  octet bench make-model /tmp/small --shape mixtral-1b-shape --layers 2 --seed 7\n"
           "BF16, without a tokenizer. The same shape and seed give the same bytes.";
  }

  void declare(CLI::App& app) override {
    app.add_option("DIR", path_, "the checkpoint's directory")->required();
    app.add_option("--shape", shape_name_, "what is not said otherwise: " + checkpoint_shape_names())
        ->capture_default_str();
    const std::pair<const char*, int64_t CheckpointShape::*> extents[] = {
        {"--hidden", &CheckpointShape::hidden},     {"--ffn", &CheckpointShape::ffn},
        {"--layers", &CheckpointShape::layers},     {"--heads", &CheckpointShape::heads},
        {"--kv-heads", &CheckpointShape::kv_heads}, {"--head-dim", &CheckpointShape::head_dim},
        {"--vocab", &CheckpointShape::vocab},       {"--experts", &CheckpointShape::experts},
        {"--top-k", &CheckpointShape::top_k}};
    for (const auto& [flag, extent] : extents) {
      app.add_option(flag, given_.*extent, "")->check(CLI::Range(1, 1 << 20))->type_name("N")->group("Shape");
      extents_.push_back(extent);
    }
    app.add_option("--seed", options_.seed, "of the weights")->capture_default_str()->type_name("N");
    declare_threads(app, options_.num_threads);
  }

  Status run() override {
    catch_interrupts();
    OCTET_ASSIGN_OR_RETURN(options_.shape, find_checkpoint_shape(shape_name_));
    for (const auto extent : extents_) {
      if (given_.*extent > 0) options_.shape.*extent = given_.*extent;
    }
    options_.path = path_;
    const int64_t total = checkpoint_bytes(options_.shape);
    ProgressBar bar("writing", total, human_bytes(static_cast<double>(total)));
    options_.progress = [&bar](int64_t bytes) {
      bar.update(bytes);
      return check_interrupted();
    };
    OCTET_RETURN_IF_ERROR(make_model(options_));
    bar.clear();
    log_info("{}: {} of random weights", path_, human_bytes(static_cast<double>(total)));
    return ok_status();
  }

 private:
  std::string path_;
  std::string shape_name_ = "mixtral-1b-shape";
  CheckpointShape given_;  // 0: as the named shape has it
  std::vector<int64_t CheckpointShape::*> extents_;
  MakeModelOptions options_;
};

class BenchGenerateCommand final : public Command {
 public:
  const char* name() const override { return "bench generate"; }
  const char* summary() const override { return "How fast a model reads prompts and generates"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet bench generate --model /tmp/layers4\n"
           "  octet bench generate --streams 1,4 --prompt-tokens 2048 --rounds 7 --json\n"
           "Streams have different random prompts. bench/README.md defines every figure.";
  }

  void declare(CLI::App& app) override {
    const auto count = [&app](const char* flag, int64_t& value, const char* help) {
      app.add_option(flag, value, help)->check(CLI::Range(1, 1 << 20))->capture_default_str()->type_name("N");
    };
    count("--prompt-tokens", options_.prompt_tokens, "tokens of the prompt whose prefill is timed");
    count("--context", options_.context, "prompt tokens of each stream that decodes");
    count("--steps", options_.steps, "decoding steps of one measurement");
    app.add_option("--streams", options_.streams, "numbers of streams that decode at once")
        ->delimiter(',')
        ->check(CLI::Range(1, 4096))
        ->type_name("N,N,…")
        ->default_str("1,8,16,32");
    app.add_option("--seed", options_.seed, "of the prompts")->capture_default_str()->type_name("N");
    declare_measuring(app, options_);
    declare_device_file(app, device_file_);
    app.add_flag("--json", json_, "print one JSON object");
    declare_model_flags(app, model_);
  }

  Status run() override {
    catch_interrupts();
    for (const int64_t streams : options_.streams) model_.max_batch = std::max(model_.max_batch, streams);
    if (model_.max_context == 0) model_.max_context = longest_sequence(options_);
    OCTET_ASSIGN_OR_RETURN(const auto session, open_session(model_));
    if (!session->leads()) return session->follow();
    OCTET_RETURN_IF_ERROR(check_clock(options_.clock, session->backend()));
    const int threads = model_.threads > 0 ? model_.threads : num_available_cpus();
    OCTET_ASSIGN_OR_RETURN(const LimitSource limits, make_limit_source({device_file_, session->topology().world,
                                                                        model_.isa, threads, options_.clock},
                                                                       session->backend()));
    OCTET_RETURN_IF_ERROR(session->load());
    options_.prefill_chunk = model_.prefill_chunk;
    options_.may_go_on = check_interrupted;
    const BenchedModel model{session->runner(), session->config(),
                             session->backend().memory_kind() == MemoryKind::kHost, session->bytes_per_weight(),
                             session->bytes_per_kv_element()};
    OCTET_ASSIGN_OR_RETURN(const GenerateReport report, run_generate_bench(options_, model, limits, threads));
    return json_ ? print_line(report.to_json()) : print(report.to_text());
  }

 private:
  GenerateBenchOptions options_;
  std::string device_file_;
  bool json_ = false;
  ModelFlags model_;
};

}  // namespace

std::vector<std::unique_ptr<Command>> make_bench_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(std::make_unique<BenchGenerateCommand>());
  commands.push_back(make_bench_scaling_command());
  commands.push_back(make_bench_exchange_command());
  commands.push_back(make_bench_roofline_command());
  commands.push_back(make_bench_serve_command());
  commands.push_back(std::make_unique<KernelsCommand>());
  commands.push_back(std::make_unique<CeilingsCommand>());
  commands.push_back(std::make_unique<MakeModelCommand>());
  return commands;
}

}  // namespace octet
