// octet bench roofline: the bound of a model's steps on devices that need not be here.
#include "bench/ceilings.h"
#include "bench/roofline.h"
#include "launcher/commands/commands.h"
#include "launcher/device_file.h"
#include "launcher/model_flags.h"
#include "launcher/model_options.h"
#include "launcher/output.h"
#include "launcher/plan_text.h"
#include "runtime/session/explain.h"

namespace octet {
namespace {

constexpr int64_t kProbeBytes = int64_t{1} << 30;
constexpr int kProbeRounds = 5;

// One step of a kind, and its bound.
struct RooflineStep {
  std::string what;    // "decode, 16 streams"
  int64_t tokens = 0;  // that the job gets on with in it
  RowLayoutKind layout = RowLayoutKind::kReplicated;
  StepBound bound;
};

std::string milliseconds(double seconds) { return fmt::format("{:.4f}", seconds * 1e3); }

// This machine as a rank's device: all threads of this process, and the cost model's links.
Result<DeviceCeilings> measured_device() {
  OCTET_ASSIGN_OR_RETURN(const Isa isa, find_isa(""));
  ThreadPool pool(0);
  CeilingProbe probe(isa, pool, BenchClock::kWall, kProbeBytes);
  const Ceilings ceilings = median_ceilings(probe, kProbeRounds);
  return DeviceCeilings{.name = fmt::format("this machine, {} threads", pool.num_threads()),
                        .read_bytes_per_second = ceilings.read_bytes_per_second,
                        .product_operations_per_second = ceilings.f32_operations_per_second,
                        .devices_per_node = 1 << 20,
                        .link_bytes_per_second = 1 / kSecondsPerByte,
                        .network_bytes_per_second = 1 / kSecondsPerByte};
}

class RooflineCommand final : public Command {
 public:
  const char* name() const override { return "bench roofline"; }
  const char* summary() const override { return "The bound of a model's steps on a device that need not be here"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet bench roofline --model configs/models/mixtral-8x7b --device-file h100-sxm --ranks 8\n"
           "  octet bench roofline --streams 1,32 --measured-ms 9.5        how near a run of yours comes\n"
           "Nothing is run: bytes and operations follow from the configuration. bench/README.md defines every figure.";
  }

  void declare(CLI::App& app) override {
    const auto count = [&app](const char* flag, auto& value, const char* help, const CLI::Range& range = {0, 1 << 24}) {
      app.add_option(flag, value, help)->check(range)->capture_default_str()->type_name("N");
    };
    declare_model_path(app, flags_);
    app.add_option("--device-file", device_file_,
                   "a file, a name of configs/devices (a100-80gb, h100-sxm, h200), or measured: this machine's CPU")
        ->capture_default_str();
    count("--ranks", layout_.world, "ranks of the job, a device each", {1, 4096});
    count("--tp", layout_.tp, "ranks that share attention by KV heads (0: the default of so many ranks)");
    count("--dp", layout_.dp, "replicas of attention");
    count("--ep", layout_.ep, "places that experts are dealt to");
    count("--etp", layout_.etp, "ranks that share an expert");
    app.add_option("--exchange", flags_.exchange, "how rows reach their experts: auto, all-to-all, replicated")
        ->check(CLI::IsMember({"auto", "all-to-all", "replicated"}))
        ->capture_default_str();
    app.add_option("--streams", streams_, "numbers of streams of the whole job that decode at once")
        ->delimiter(',')
        ->check(CLI::Range(1, 1 << 20))
        ->default_str("1,32,256");
    count("--context", context_, "tokens of each stream before the step");
    count("--prompt-tokens", prompt_tokens_, "tokens of a prompt that one step of each dp group reads; 0: none");
    count("--weight-bits", weight_bits_, "of a weight", {1, 32});
    count("--kv-bits", kv_bits_, "of a key's or value's element", {1, 32});
    app.add_option("--measured-ms", measured_ms_, "milliseconds that your step took: its fraction of the bound")
        ->check(CLI::PositiveNumber)
        ->type_name("X");
    app.add_flag("--json", json_, "print one JSON object");
  }

  Status run() override {
    OCTET_ASSIGN_OR_RETURN(const PlannedModel model, open_planned_model(model_path(flags_)));
    const ModelConfig& c = model.config;
    OCTET_ASSIGN_OR_RETURN(const DeviceCeilings device,
                           device_file_ == "measured" ? measured_device() : read_device_file(device_file_));
    OCTET_ASSIGN_OR_RETURN(const Topology topology, make_topology(layout_, {c.num_kv_heads, c.num_experts}));
    OCTET_ASSIGN_OR_RETURN(const RowLayoutChooser chooser,
                           RowLayoutChooser::create(session_options(flags_).exchange, topology, c.num_experts,
                                                    c.experts_per_token, c.hidden_size, ElementBytes().exchange));
    std::vector<RooflineStep> steps;
    for (const int64_t streams : streams_) {
      const int64_t rows = (streams + topology.dp - 1) / topology.dp;  // of the dp group that has the most
      steps.push_back(bound_of(fmt::format("decode, {} stream{}", streams, streams > 1 ? "s" : ""), streams,
                               decode_rows(c, rows, static_cast<double>(context_)), c, topology, chooser, device));
    }
    if (prompt_tokens_ > 0) {
      steps.push_back(bound_of(fmt::format("prefill, {} tokens", prompt_tokens_ * topology.dp),
                               prompt_tokens_ * topology.dp, prefill_rows(c, 0, prompt_tokens_, true), c, topology,
                               chooser, device));
    }
    return json_ ? print_line(dump_json(as_json(steps, topology, device))) : print(as_text(steps, topology, device));
  }

 private:
  RooflineStep bound_of(std::string what, int64_t tokens, const CostedRows& rows, const ModelConfig& config,
                        const Topology& topology, const RowLayoutChooser& chooser, const DeviceCeilings& device) const {
    const RowLayoutKind layout = chooser.choose(rows.rows);
    const ElementBytes element{.weight = weight_bits_ / 8.0, .kv = kv_bits_ / 8.0};
    return {std::move(what), tokens, layout,
            step_bound(step_kernels(config, topology, layout, rows, element), topology, device)};
  }

  std::string as_text(const std::vector<RooflineStep>& steps, const Topology& topology,
                      const DeviceCeilings& device) const {
    std::string text =
        fmt::format("{}: read {:.0f} GB/s, products {:.1f} TFLOP/s, links {:.0f} GB/s, network {:.0f} GB/s\n{}\n",
                    device.name, device.read_bytes_per_second / 1e9, device.product_operations_per_second / 1e12,
                    device.link_bytes_per_second / 1e9, device.network_bytes_per_second / 1e9, layout_text(topology));
    for (const RooflineStep& step : steps) {
      text += fmt::format("{}, rows {}\n  {:<18} {:>6} {:>10} {:>10} {:>10} {:>9}  bound by\n", step.what,
                          row_layout_name(step.layout), "kernel", "calls", "MB", "GFLOP", "sent MB", "ms");
      for (const KernelBound& k : step.bound.kernels) {
        text += fmt::format("  {:<18} {:>6} {:>10.2f} {:>10.3f} {:>10.3f} {:>9}  {}\n", k.cost.name, k.cost.calls,
                            k.cost.bytes / 1e6, k.cost.operations / 1e9, k.cost.sent_bytes / 1e6,
                            milliseconds(k.seconds()), k.limit());
      }
      text += total_text(step);
    }
    return text;
  }

  std::string total_text(const RooflineStep& step) const {
    const StepBound& b = step.bound;
    const auto tokens = static_cast<double>(step.tokens);
    std::string text = fmt::format(
        "  step: {} ms kernel by kernel ({:.0f} tokens/s), {} ms if all overlapped ({:.0f} tokens/s); launches beside "
        "it without graphs: {} ms\n",
        milliseconds(b.in_turn_seconds), tokens / b.in_turn_seconds, milliseconds(b.overlapped_seconds),
        tokens / b.overlapped_seconds, milliseconds(b.launch_seconds));
    if (measured_ms_ > 0) {
      text += fmt::format("  measured {} ms: {:.2f} of the bound kernel by kernel\n", measured_ms_,
                          b.in_turn_seconds * 1e3 / measured_ms_);
    }
    return text;
  }

  nlohmann::ordered_json as_json(const std::vector<RooflineStep>& steps, const Topology& topology,
                                 const DeviceCeilings& device) const {
    nlohmann::ordered_json object{{"device", device.name}, {"layout", layout_json(topology)}};
    for (const RooflineStep& step : steps) {
      const StepBound& b = step.bound;
      nlohmann::ordered_json entry{{"step", step.what},
                                   {"tokens", step.tokens},
                                   {"exchange", row_layout_name(step.layout)},
                                   {"in_turn_ms", b.in_turn_seconds * 1e3},
                                   {"overlapped_ms", b.overlapped_seconds * 1e3},
                                   {"launch_ms", b.launch_seconds * 1e3}};
      if (measured_ms_ > 0) entry["fraction_of_bound"] = b.in_turn_seconds * 1e3 / measured_ms_;
      for (const KernelBound& k : b.kernels) {
        entry["kernels"].push_back({{"kernel", k.cost.name},
                                    {"calls", k.cost.calls},
                                    {"bytes", k.cost.bytes},
                                    {"operations", k.cost.operations},
                                    {"sent_bytes", k.cost.sent_bytes},
                                    {"messages", k.cost.messages},
                                    {"ms", k.seconds() * 1e3},
                                    {"limit", k.limit()}});
      }
      object["steps"].push_back(std::move(entry));
    }
    return object;
  }

  ModelFlags flags_;
  LayoutRequest layout_;
  std::string device_file_ = "measured";
  std::vector<int64_t> streams_ = {1, 32, 256};
  int64_t context_ = 1024;
  int64_t prompt_tokens_ = 512;
  int weight_bits_ = 16;
  int kv_bits_ = 16;
  double measured_ms_ = 0;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_bench_roofline_command() { return std::make_unique<RooflineCommand>(); }

}  // namespace octet
