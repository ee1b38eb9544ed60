// octet inspect: what a checkpoint is, and what memory it needs.
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/model_options.h"
#include "launcher/output.h"
#include "launcher/plan_text.h"
#include "parallel/expert_placement.h"
#include "runtime/base/human_bytes.h"
#include "runtime/base/log.h"
#include "runtime/base/model_folder.h"
#include "runtime/session/explain.h"
#include "runtime/session/session.h"
#include "runtime/session/special_tokens.h"

namespace octet {
namespace {

std::string list_ids(const std::vector<TokenId>& ids) { return fmt::format("{}", fmt::join(ids, ", ")); }

std::string rope_scaling_text(const RopeScaling& s) {
  if (s.kind == RopeKind::kDefault) return "";
  return fmt::format(", scaled ({}, factor {})", rope_kind_name(s.kind), s.factor);
}

std::string config_text(const ModelConfig& c) {
  std::string text;
  text += fmt::format("  layers             {}\n", c.num_layers);
  text += fmt::format("  hidden size        {}\n", c.hidden_size);
  text += fmt::format("  attention          {} heads of {} over {} KV heads{}\n", c.num_heads, c.head_dim,
                      c.num_kv_heads, c.sliding_window > 0 ? fmt::format(", window of {}", c.sliding_window) : "");
  text += fmt::format("  experts            {} of ffn {}, {} a token\n", c.num_experts, c.intermediate_size,
                      c.experts_per_token);
  text += fmt::format("  vocabulary         {}{}\n", c.vocab_size, c.tie_embeddings ? ", tied embeddings" : "");
  text += fmt::format("  context            {} tokens{}, RoPE theta {}{}, pairs {}\n", c.max_positions,
                      c.assumed_positions ? " (assumed; --max-context may be more)" : "", c.rope_theta,
                      rope_scaling_text(c.rope_scaling),
                      c.rope_pairs == RopePairs::kHalves ? "(i, i + head_dim/2)" : "(2i, 2i + 1)");
  text += fmt::format("  norm epsilon       {}\n", c.rms_norm_eps);
  text += fmt::format("  parameters         {} ({} a token)\n", c.num_parameters(), c.num_active_parameters());
  return text;
}

std::string id_text(const std::optional<TokenId>& id) { return id ? std::to_string(*id) : "none"; }

std::string special_tokens_text(const SpecialTokens& s) {
  return fmt::format("  special tokens     BOS {}{}, EOS {}{}, unknown {}, padding {}; output ends at {}\n",
                     id_text(s.bos), s.add_bos ? " (in front of a text)" : "", id_text(s.eos),
                     s.add_eos ? " (behind a text)" : "", id_text(s.unk), id_text(s.pad),
                     s.end.empty() ? "none" : list_ids(s.end));
}

nlohmann::ordered_json id_json(const std::optional<TokenId>& id) {
  return id ? nlohmann::ordered_json(*id) : nlohmann::ordered_json();
}

nlohmann::ordered_json special_tokens_json(const SpecialTokens& s) {
  return {{"bos_id", id_json(s.bos)}, {"eos_id", id_json(s.eos)}, {"unk_id", id_json(s.unk)},
          {"pad_id", id_json(s.pad)}, {"add_bos", s.add_bos},     {"add_eos", s.add_eos},
          {"end_ids", s.end}};
}

nlohmann::ordered_json config_json(const ModelConfig& c) {
  return {{"num_layers", c.num_layers},
          {"hidden_size", c.hidden_size},
          {"num_heads", c.num_heads},
          {"num_kv_heads", c.num_kv_heads},
          {"head_dim", c.head_dim},
          {"sliding_window", c.sliding_window},
          {"num_experts", c.num_experts},
          {"experts_per_token", c.experts_per_token},
          {"intermediate_size", c.intermediate_size},
          {"vocab_size", c.vocab_size},
          {"tie_embeddings", c.tie_embeddings},
          {"max_positions", c.max_positions},
          {"max_positions_assumed", c.assumed_positions},
          {"rope_theta", c.rope_theta},
          {"rope_type", rope_kind_name(c.rope_scaling.kind)},
          {"rope_factor", c.rope_scaling.factor},
          {"rms_norm_eps", c.rms_norm_eps},
          {"bos_id", c.bos_id},
          {"eos_ids", c.eos_ids},
          {"parameters", c.num_parameters()},
          {"active_parameters", c.num_active_parameters()}};
}

class InspectCommand final : public Command {
 public:
  const char* name() const override { return "inspect"; }
  const char* summary() const override { return "What a checkpoint is, and what memory a rank needs"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet inspect                               the shipped demo model\n"
           "  octet inspect ~/Mixtral-8x7B-v0.1 --ranks 8\n"
           "  octet inspect ~/Mixtral-8x7B-v0.1 --tensors --json";
  }

  void declare(CLI::App& app) override {
    app.add_option("--model,MODEL", flags_.model,
                   "directory of a checkpoint (default: $OCTET_MODEL, else the demo model)");
    app.add_option("--ranks", layout_.world, "ranks of the layout")->check(CLI::Range(1, 4096))->capture_default_str();
    app.add_option("--tp", layout_.tp, "ranks that share attention by KV heads: 1, 2, 4 or 8");
    app.add_option("--dp", layout_.dp, "replicas of attention");
    app.add_option("--ep", layout_.ep, "places that experts are dealt to");
    app.add_option("--etp", layout_.etp, "ranks that share an expert: 1, 2, 4 or 8");
    app.add_flag("--tensors", tensors_, "list every tensor");
    app.add_flag("--json", json_, "print one JSON object");
  }

  Status run() override {
    OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(model_path(flags_)));
    say_remarks(checkpoint);
    const ModelConfig& config = checkpoint.config();
    special_tokens_ = read_special_tokens(checkpoint);
    OCTET_ASSIGN_OR_RETURN(const Topology topology, make_topology(layout_, {config.num_kv_heads, config.num_experts}));
    const auto ranks =
        plan_ranks(config, &checkpoint, topology, place_experts_linear(config.num_experts, topology.ep), DType::kF32);
    return json_ ? print_line(dump_json(as_json(checkpoint, topology, ranks)))
                 : print(as_text(checkpoint, topology, ranks));
  }

 private:
  std::string as_text(const Checkpoint& checkpoint, const Topology& t, const std::vector<RankPlan>& ranks) const {
    std::string text = fmt::format("{}\n{}", checkpoint.path().string(), config_text(checkpoint.config()));
    text += special_tokens_text(special_tokens_);
    text += fmt::format("  weight files       {}\n", human_bytes(static_cast<double>(checkpoint.file_bytes())));
    text += fmt::format("{}\n  rank   {}\n", layout_text(t), rank_plan_heading());
    for (size_t r = 0; r < ranks.size(); ++r) text += fmt::format("  {:<6} {}\n", r, rank_plan_text(ranks[r]));
    if (!tensors_) return text;
    text += "tensors\n";
    for (const TensorListing& tensor : checkpoint.tensors()) {
      text += fmt::format("  {:<60} {:<5} [{}]  {}{}\n", tensor.name, tensor.dtype_text, fmt::join(tensor.shape, ", "),
                          tensor.file, tensor.is_used ? "" : "  (not used)");
    }
    return text;
  }

  nlohmann::ordered_json as_json(const Checkpoint& checkpoint, const Topology& t,
                                 const std::vector<RankPlan>& ranks) const {
    nlohmann::ordered_json object{{"model", checkpoint.path().string()},
                                  {"config", config_json(checkpoint.config())},
                                  {"special_tokens", special_tokens_json(special_tokens_)},
                                  {"file_bytes", checkpoint.file_bytes()},
                                  {"layout", layout_json(t)},
                                  {"ranks", nlohmann::ordered_json::array()}};
    for (const RankPlan& rank : ranks) object["ranks"].push_back(rank_plan_json(rank));
    if (!tensors_) return object;
    for (const TensorListing& tensor : checkpoint.tensors()) {
      object["tensors"].push_back({{"name", tensor.name},
                                   {"dtype", tensor.dtype_text},
                                   {"shape", tensor.shape},
                                   {"file", tensor.file},
                                   {"used", tensor.is_used}});
    }
    return object;
  }

  // A tokenizer that cannot be read takes nothing from what else there is to say.
  static SpecialTokens read_special_tokens(const Checkpoint& checkpoint) {
    if (find_tokenizer_file(checkpoint.path()).empty()) return resolve_special_tokens(checkpoint.config(), nullptr);
    const auto tokenizer = Tokenizer::open(checkpoint.path());
    if (!tokenizer.ok()) log_warning("{}", tokenizer.status().message());
    return resolve_special_tokens(checkpoint.config(), tokenizer.ok() ? &*tokenizer : nullptr);
  }

  ModelFlags flags_;
  SpecialTokens special_tokens_;
  LayoutRequest layout_;
  bool tensors_ = false;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_inspect_command() { return std::make_unique<InspectCommand>(); }

}  // namespace octet
