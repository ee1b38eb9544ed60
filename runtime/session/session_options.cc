#include "runtime/session/session_options.h"

#include <algorithm>

#include "parallel/expert_placement.h"
#include "runtime/base/read_file.h"

namespace octet {

Result<std::vector<std::vector<int32_t>>> place_experts(const ExpertPlacement& placement, int64_t num_experts,
                                                        int num_places) {
  constexpr int64_t kMaxFileBytes = 1 << 20;
  if (placement.kind == ExpertPlacement::Kind::kLinear) return place_experts_linear(num_experts, num_places);
  if (placement.kind == ExpertPlacement::Kind::kRoundRobin) return place_experts_round_robin(num_experts, num_places);
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(placement.file, kMaxFileBytes));
  auto places = parse_placement(text, num_experts, num_places);
  if (!places.ok()) return invalid_input("{}: {}", placement.file.string(), places.status().message());
  return places;
}

MixtralOptions model_options(const SessionOptions& options, DType default_kv_dtype) {
  MixtralOptions model;
  model.max_rows = std::max(options.engine.prefill_chunk, options.engine.max_batch);
  model.max_logit_rows = options.engine.max_batch;
  model.max_context = options.max_context;
  model.kv_dtype = options.kv_dtype.value_or(default_kv_dtype);
  model.exchange = options.exchange;
  model.exchange_dtype = options.exchange_dtype;
  model.load.format = options.weights;
  return model;
}

}  // namespace octet
