// octet bench …: what this machine and this program give.
#include "bench/ceilings.h"
#include "bench/generate_bench.h"
#include "bench/kernels_bench.h"
#include "bench/make_model.h"
#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/output.h"
#include "launcher/session.h"
#include "runtime/base/log.h"
#include "runtime/base/thread_pool.h"

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

void declare_threads(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "default: as many as the affinity mask allows")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

template <typename Options>
void declare_kernel_flags(CLI::App& app, Options& options) {
  declare_measuring(app, options);
  declare_threads(app, options.num_threads);
  app.add_option("--isa", options.isa, "instruction set (default: the best here)")->type_name("NAME");
  app.add_flag("--json", options.json, "print one JSON object");
}

class CeilingsCommand final : public Command {
 public:
  const char* name() const override { return "bench ceilings"; }
  const char* summary() const override { return "What memory and arithmetic of this machine give at best"; }
  const char* examples() const override { return "Examples:\n  octet bench ceilings --threads 2"; }
  void declare(CLI::App& app) override { declare_kernel_flags(app, options_); }
  Status run() override { return run_ceilings_bench(options_); }

 private:
  CeilingsOptions options_;
};

class KernelsCommand final : public Command {
 public:
  const char* name() const override { return "bench kernels"; }
  const char* summary() const override { return "How near the kernels come to the ceilings"; }
  const char* examples() const override {
    return "Examples:\n  octet bench kernels\n  octet bench kernels --hidden 1024 --ffn 3584 --json";
  }
  void declare(CLI::App& app) override {
    declare_kernel_flags(app, options_);
    app.add_option("--hidden", options_.hidden, "hidden size")->check(CLI::Range(1, 1 << 20))->capture_default_str();
    app.add_option("--ffn", options_.ffn, "ffn size of an expert")
        ->check(CLI::Range(1, 1 << 20))
        ->capture_default_str();
  }
  Status run() override { return run_kernels_bench(options_); }

 private:
  KernelsBenchOptions options_;
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
    app.add_flag("--json", json_, "print one JSON object");
    declare_model_flags(app, model_);
  }

  Status run() override {
    catch_interrupts();
    for (const int64_t streams : options_.streams) model_.max_batch = std::max(model_.max_batch, streams);
    if (model_.max_context == 0) model_.max_context = longest_sequence(options_);
    OCTET_ASSIGN_OR_RETURN(const auto session, Session::open(model_, {}));
    if (!session->leads()) return session->follow();
    OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(model_.isa));
    OCTET_RETURN_IF_ERROR(session->load());
    ThreadPool pool(model_.threads);
    CeilingProbe probe(isa.kernels(), pool, options_.clock, kProbeBytes);
    options_.prefill_chunk = model_.prefill_chunk;
    options_.may_go_on = check_interrupted;
    const BenchedModel model{session->runner(), session->config(), session->bytes_per_weight(),
                             session->bytes_per_kv_element()};
    OCTET_ASSIGN_OR_RETURN(const GenerateReport report, run_generate_bench(options_, model, probe, pool.num_threads()));
    return json_ ? print_line(report.to_json()) : print(report.to_text());
  }

 private:
  static constexpr int64_t kProbeBytes = int64_t{1} << 30;

  GenerateBenchOptions options_;
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
