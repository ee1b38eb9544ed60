#include "launcher/model_options.h"

#include "launcher/paths.h"
#include "parallel/expert_placement.h"
#include "runtime/base/log.h"
#include "runtime/model/kv_store.h"
#include "runtime/model/text_file.h"

namespace octet {

std::filesystem::path model_path(const ModelFlags& flags) {
  return flags.model.empty() ? default_model() : std::filesystem::path(flags.model);
}

void say_remarks(const Checkpoint& checkpoint) {
  for (const std::string& remark : checkpoint.remarks()) log_warning("{}", remark);
}

std::optional<DType> kv_dtype(const ModelFlags& flags) {
  if (flags.kv_dtype.empty()) return std::nullopt;
  if (flags.kv_dtype == "bf16") return DType::kBF16;
  return flags.kv_dtype == "int8" ? DType::kI8 : DType::kF32;
}

DType exchange_dtype(const ModelFlags& flags) { return flags.exchange_dtype == "bf16" ? DType::kBF16 : DType::kF32; }

ExchangePolicy exchange_policy(const ModelFlags& flags) {
  if (flags.exchange == "all-to-all") return ExchangePolicy::kAllToAll;
  return flags.exchange == "replicated" ? ExchangePolicy::kReplicated : ExchangePolicy::kAuto;
}

Result<std::vector<std::vector<int32_t>>> place_experts(const ModelFlags& flags, int64_t num_experts, int num_places) {
  if (flags.placement == "linear") return place_experts_linear(num_experts, num_places);
  if (flags.placement == "round-robin") return place_experts_round_robin(num_experts, num_places);
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(flags.placement, 1 << 20));
  auto places = parse_placement(text, num_experts, num_places);
  if (!places.ok()) return invalid_input("{}: {}", flags.placement, places.status().message());
  return places;
}

int64_t kv_page_bytes(const ModelConfig& config, int tp, DType dtype) {
  return KvStoreShape{config.num_layers, 1, config.num_kv_heads / tp, config.head_dim, dtype}.page_bytes();
}

}  // namespace octet
