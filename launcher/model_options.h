// What the values of model flags mean.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "launcher/model_flags.h"
#include "parallel/row_layout_choice.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

// The directory that the flags name, or the default model's.
std::filesystem::path model_path(const ModelFlags& flags);
// Says on the log what was left out of a checkpoint or passed over, a line each.
void say_remarks(const Checkpoint& checkpoint);
// --kv-dtype; unset: the device's default
std::optional<DType> kv_dtype(const ModelFlags& flags);
// --exchange
ExchangePolicy exchange_policy(const ModelFlags& flags);
DType exchange_dtype(const ModelFlags& flags);
// --placement: the experts of each of `num_places` places, from its name or its file (kInvalidInput names it).
Result<std::vector<std::vector<int32_t>>> place_experts(const ModelFlags& flags, int64_t num_experts, int num_places);

// Bytes of a page of the KV cache on a rank with a tp-th of the KV heads.
int64_t kv_page_bytes(const ModelConfig& config, int tp, DType dtype);

}  // namespace octet
