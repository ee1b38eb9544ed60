#include "launcher/model_flags.h"

#include <fmt/ranges.h>

#include "kernels/backend_factory.h"

namespace octet {

void declare_model_path(CLI::App& app, ModelFlags& flags) {
  app.add_option(
         "--model", flags.model,
         "directory of a checkpoint: Hugging Face (config.json) or Mistral-native (params.json) layout, weights as "
         "safetensors; a Hugging Face cache folder stands for the snapshot of its refs/main; default: $OCTET_MODEL, "
         "else the shipped demo model")
      ->type_name("DIR");
}

CLI::Option* declare_tokenizer(CLI::App& app, ModelFlags& flags) {
  return app
      .add_option("--tokenizer", flags.tokenizer,
                  "a tokenizer.model file, or a directory with one and its added tokens (default: the model's)")
      ->type_name("FILE");
}

namespace {

constexpr const char* kModelGroup = "Running the model";
constexpr const char* kRanksGroup = "Many ranks (under mpirun or octet run)";

void declare_rank_flags(CLI::App& app, ModelFlags& flags) {
  const auto group = [](CLI::Option* option) { return option->group(kRanksGroup); };
  group(app.add_option("--tp", flags.tp, "ranks that share attention by KV heads: 1, 2, 4 or 8"))->type_name("N");
  group(app.add_option("--dp", flags.dp, "replicas of attention, each with its own sequences"))->type_name("N");
  group(app.add_option("--ep", flags.ep, "places that experts are dealt to"))->type_name("N");
  group(app.add_option("--etp", flags.etp, "ranks that share the experts of a place: 1, 2, 4 or 8"))->type_name("N");
  group(app.add_option("--exchange", flags.exchange, "how rows reach their experts: auto, all-to-all, replicated"))
      ->check(CLI::IsMember({"auto", "all-to-all", "replicated"}))
      ->capture_default_str();
  group(
      app.add_option("--exchange-dtype", flags.exchange_dtype,
                     "precision of what experts take and give: fp32, or bf16 for half the bytes (changes results alike "
                     "on any number of ranks)"))
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  group(app.add_option("--placement", flags.placement, "experts of each place: linear, round-robin, or a TOML file"))
      ->capture_default_str();
  group(app.add_flag("--explain", flags.explain,
                     "say which layout, placement and exchange are used, and what they cost"));
  group(app.add_option("--heartbeat-limit", flags.heartbeat_limit, "end the job when a rank is silent for so long"))
      ->check(CLI::Range(1.0, 1e6))
      ->type_name("SECONDS")
      ->capture_default_str();
  group(app.add_option("--collective-limit", flags.collective_limit, "end the job when a collective takes so long"))
      ->check(CLI::Range(1.0, 1e6))
      ->type_name("SECONDS")
      ->capture_default_str();
}

bool is_of_model(const CLI::Option& option) {
  return option.get_group() == kModelGroup || option.get_group() == kRanksGroup;
}

std::vector<std::pair<std::string, std::string>> model_flag_values(const CLI::App& app) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const CLI::Option* option : app.get_options()) {
    if (!is_of_model(*option)) continue;
    values.emplace_back(option->get_name(), option->count() > 0 ? fmt::format("{}", fmt::join(option->results(), " "))
                                                                : option->get_default_str());
  }
  return values;
}

}  // namespace

void declare_generation_config(CLI::App& app, ModelFlags& flags) {
  app.add_option("--generation-config", flags.generation_config,
                 "sampling defaults and end tokens from this file instead of the checkpoint's generation_config.json; "
                 "none: neutral defaults, end tokens from config.json")
      ->type_name("FILE|none")
      ->group(kModelGroup);
}

void declare_model_flags(CLI::App& app, ModelFlags& flags) {
  flags.values = [&app] { return model_flag_values(app); };
  declare_model_path(app, flags);
  const auto group = [](CLI::Option* option) { return option->group(kModelGroup); };
  group(declare_tokenizer(app, flags));
  group(
      app.add_option("--device", flags.device, "where it runs: " + available_devices() + " (default: the best here)"));
  group(app.add_option("--threads", flags.threads,
                       "threads of the cpu device (default: as many as the affinity mask and the control group's "
                       "quota allow, shared among a host's ranks)"))
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  group(app.add_option("--isa", flags.isa, "instruction set of the cpu device: avx2, avx512 (default: the best here)"))
      ->type_name("NAME");
  group(
      app.add_option("--kv-dtype", flags.kv_dtype,
                     "how keys and values are kept: fp32, bf16 (half the memory), int8 (a quarter) (default: fp32; on "
                     "cuda bf16)"))
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}))
      ->type_name("NAME");
  group(app.add_option("--weights", flags.weights, "keep weights as the file has them, or convert: file, bf16, f16"))
      ->check(CLI::IsMember({"file", "bf16", "f16"}))
      ->capture_default_str();
  group(app.add_option(
            "--kv-cache", flags.kv_cache,
            "memory for keys and values of a rank, e.g. 512M or 8G (default: max-batch contexts, at most a quarter of "
            "what the host has free, or what the GPU has left); more than there is, by machine, control group or "
            "ulimit, is refused"))
      ->transform(CLI::AsSizeValue(false))
      ->type_name("SIZE");
  group(app.add_option("--prefill-chunk", flags.prefill_chunk, "most tokens of one step; never changes a result"))
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  group(app.add_option("--max-batch", flags.max_batch, "most sequences that run at once; never changes a result"))
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  group(app.add_option("--prefix-cache", flags.prefix_cache,
                       "start a sequence from the pages of another that begins alike: on, off; never changes a result"))
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  group(app.add_option("--max-context", flags.max_context,
                       "longest sequence in tokens (default: the checkpoint's); beyond it only "
                       "where the checkpoint does not say how long its own is"))
      ->check(CLI::Range(1, 1 << 24))
      ->type_name("N");
  group(
      app.add_flag("--check-weights", flags.check_weights, "refuse weights that are NaN or infinite (reads them all)"));
  declare_rank_flags(app, flags);
}

std::vector<std::string> given_model_flags(const CLI::App& app) {
  std::vector<std::string> given;
  for (const CLI::Option* option : app.get_options()) {
    if (is_of_model(*option) && option->count() > 0) given.push_back(option->get_name());
  }
  return given;
}

}  // namespace octet
