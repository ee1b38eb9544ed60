#include "launcher/model_options.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "launcher/job/job_message.h"
#include "launcher/paths.h"
#include "runtime/base/hash.h"

namespace octet {
namespace {

// Flags that ranks may have each for itself.
constexpr std::string_view kOfEachRank[] = {"--threads"};

// All others, as the command has them; of a file that one names, what stands in it.
Result<std::vector<NamedHash>> hash_flags(const std::vector<std::pair<std::string, std::string>>& values) {
  std::vector<NamedHash> hashes;
  for (const auto& [name, value] : values) {
    if (std::ranges::find(kOfEachRank, name) != std::end(kOfEachRank)) continue;
    std::error_code ignored;
    if (std::filesystem::is_regular_file(value, ignored)) {
      OCTET_ASSIGN_OR_RETURN(const uint64_t content, hash_file(value));
      hashes.push_back({fmt::format("the file of {}", name), content});
    } else {
      hashes.push_back({fmt::format("flags ({})", name), hash_text(value)});
    }
  }
  return hashes;
}

std::optional<WeightFormat> kept_format(const std::string& weights) {
  if (weights == "bf16") return DType::kBF16;
  if (weights == "f16") return DType::kF16;
  return std::nullopt;
}

std::optional<DType> kv_dtype(const std::string& name) {
  if (name.empty()) return std::nullopt;
  if (name == "bf16") return DType::kBF16;
  return name == "int8" ? DType::kI8 : DType::kF32;
}

ExchangePolicy exchange_policy(const std::string& name) {
  if (name == "all-to-all") return ExchangePolicy::kAllToAll;
  return name == "replicated" ? ExchangePolicy::kReplicated : ExchangePolicy::kAuto;
}

ExpertPlacement expert_placement(const std::string& name) {
  if (name == "linear") return {.kind = ExpertPlacement::Kind::kLinear};
  if (name == "round-robin") return {.kind = ExpertPlacement::Kind::kRoundRobin};
  return {.kind = ExpertPlacement::Kind::kFile, .file = name};
}

std::chrono::milliseconds watch_limit(double num_seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(num_seconds * 1000));
}

}  // namespace

std::filesystem::path model_path(const ModelFlags& flags) {
  return flags.model.empty() ? default_model() : std::filesystem::path(flags.model);
}

SessionOptions session_options(const ModelFlags& flags) {
  SessionOptions options;
  options.model = model_path(flags);
  options.tokenizer = flags.tokenizer;
  options.checkpoint.generation_config = flags.generation_config;
  options.check_weights = flags.check_weights;
  options.backend = {.device = flags.device, .num_threads = flags.threads, .isa = flags.isa};
  options.weights = kept_format(flags.weights);
  options.kv_dtype = kv_dtype(flags.kv_dtype);
  options.kv_cache_bytes = static_cast<int64_t>(flags.kv_cache);
  options.max_context = flags.max_context;
  options.engine.prefill_chunk = flags.prefill_chunk;
  options.engine.max_batch = flags.max_batch;
  options.engine.prefix_cache = flags.prefix_cache == "on";
  options.layout = {.tp = flags.tp, .dp = flags.dp, .ep = flags.ep, .etp = flags.etp};
  options.exchange = exchange_policy(flags.exchange);
  options.exchange_dtype = flags.exchange_dtype == "bf16" ? DType::kBF16 : DType::kF32;
  options.placement = expert_placement(flags.placement);
  options.explain = flags.explain;
  options.watch = {watch_limit(flags.heartbeat_limit), watch_limit(flags.collective_limit)};
  // The network of the cluster file.
  if (const char* interface = std::getenv(kInterfaceVariable)) options.watch_address = interface;
  if (flags.values) options.also_alike = [values = flags.values] { return hash_flags(values()); };
  return options;
}

}  // namespace octet
