// What must hold of a configuration that was accepted, and of the message of one that was not.
#pragma once

#include <vector>

#include "runtime/base/check.h"
#include "runtime/checkpoint/model_config.h"

namespace octet {

inline void check_refusal(const Status& status) {
  OCTET_CHECK(status.code() == StatusCode::kInvalidInput);
  OCTET_CHECK(!status.message().empty() && status.message().find('\n') == std::string::npos);
}

inline void check_config(const Result<ModelConfig>& result) {
  if (!result.ok()) return check_refusal(result.status());
  const ModelConfig& config = *result;
  OCTET_CHECK(config.hidden_size > 0 && config.intermediate_size > 0 && config.num_layers > 0);
  OCTET_CHECK(config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads == 0);
  OCTET_CHECK(config.head_dim > 0 && config.head_dim % 2 == 0);
  OCTET_CHECK(config.experts_per_token > 0 && config.experts_per_token <= config.num_experts);
  OCTET_CHECK(config.max_positions > 0 && config.sliding_window >= 0);
  OCTET_CHECK(config.rope_theta >= 1 && config.rope_theta < 1e16);  // also not NaN
  OCTET_CHECK(config.rms_norm_eps > 0 && config.rms_norm_eps < 1);
  OCTET_CHECK(config.bos_id >= 0 && config.bos_id < config.vocab_size);
  for (const TokenId id : config.eos_ids) OCTET_CHECK(id >= 0 && id < config.vocab_size);
  std::vector<float> frequencies(static_cast<size_t>(config.head_dim / 2 + 1));
  for (const int64_t position : {int64_t{0}, config.max_positions - 1}) {
    rope_frequencies(config.rope_scaling, config.rope_theta, position, frequencies);
    for (const float frequency : frequencies) OCTET_CHECK(frequency >= 0 && frequency < 1e7F);  // also not NaN
  }
  // Sums of products that the undefined-behaviour sanitizer watches.
  OCTET_CHECK(config.num_active_parameters() > 0 && config.num_active_parameters() <= config.num_parameters());
}

}  // namespace octet
