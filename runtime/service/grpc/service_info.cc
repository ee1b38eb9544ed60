#include "runtime/service/grpc/service_info.h"

#include "runtime/service/grpc/request_parser.h"

namespace octet {
namespace {

int32_t narrow(int64_t value) { return static_cast<int32_t>(value); }

}  // namespace

void fill_model_info(const ServedModel& model, v1::ModelInfo& info) {
  const ModelConfig& config = model.config;
  info.set_name(model.name);
  info.set_vocab_size(narrow(config.vocab_size));
  info.set_max_context(narrow(model.bounds.max_context));
  info.set_num_layers(narrow(config.num_layers));
  info.set_num_experts(narrow(config.num_experts));
  info.set_experts_per_token(narrow(config.experts_per_token));
  info.set_num_parameters(config.num_parameters());
  info.set_num_active_parameters(config.num_active_parameters());
  const SpecialTokens special = model.special_tokens();
  info.set_bos_id(special.begin);
  info.mutable_eos_ids()->Add(special.end.begin(), special.end.end());
  info.set_has_tokenizer(model.tokenizer != nullptr);
  if (model.chat_template) info.set_chat_template(model.chat_template->name());
  *info.mutable_sampling_defaults() = sampling_defaults(model.defaults);
}

void fill_layout(const Topology& topology, v1::Layout& layout) {
  layout.set_num_ranks(topology.world);
  layout.set_tp(topology.tp);
  layout.set_dp(topology.dp);
  layout.set_ep(topology.ep);
  layout.set_etp(topology.etp);
}

void fill_limits(const ServedModel& model, const ServiceLimits& limits, v1::Limits& info) {
  info.set_max_message_bytes(limits.max_message_bytes);
  info.set_max_prompt_bytes(limits.max_prompt_bytes);
  info.set_max_stop_strings(narrow(limits.max_stop_strings));
  info.set_max_stop_bytes(narrow(limits.max_stop_bytes));
  info.set_max_n(narrow(model.bounds.max_num_samples));
  info.set_max_logprobs(narrow(model.bounds.max_logprobs));
  info.set_max_logit_bias_entries(narrow(limits.max_logit_bias_entries));
  info.set_max_queue(narrow(limits.max_queue));
  info.set_max_batch(narrow(model.engine.max_batch));
  info.set_kv_cache_tokens(model.kv_cache_tokens);
}

void fill_step_seconds(const StepSeconds& seconds, v1::StepSeconds& info) {
  info.set_schedule(seconds.schedule);
  info.set_model(seconds.model);
  info.set_sample(seconds.sample);
  info.set_deliver(seconds.deliver);
  info.set_service(seconds.service);
}

void fill_load(const EngineStats& stats, v1::Load& load) {
  load.set_num_requests_running(narrow(stats.num_running));
  load.set_num_requests_waiting(narrow(stats.num_waiting));
  const auto num_pages = static_cast<double>(std::max<int64_t>(stats.num_pages, 1));
  load.set_kv_cache_usage(static_cast<double>(stats.num_pages_used) / num_pages);
}

}  // namespace octet
