#include "runtime/service/client/client_messages.h"

#include <google/protobuf/message.h>

#include <limits>

namespace octet {
namespace {

template <typename Number>
Status check_number(const char* name, int64_t value) {
  constexpr int64_t kLeast = std::numeric_limits<Number>::min(), kMost = std::numeric_limits<Number>::max();
  if (value >= kLeast && value <= kMost) return ok_status();
  return invalid_input("{} {} is not in [{}, {}]", name, value, kLeast, kMost);
}

Status check_numbers(const GenerationParams& params) {
  OCTET_RETURN_IF_ERROR(check_number<int32_t>("top_k", params.sampling.top_k));
  OCTET_RETURN_IF_ERROR(check_number<int32_t>("num_samples", params.num_samples));
  OCTET_RETURN_IF_ERROR(check_number<uint32_t>("max_tokens", params.max_tokens.value_or(0)));
  OCTET_RETURN_IF_ERROR(check_number<uint32_t>("min_tokens", params.min_tokens));
  return check_number<uint32_t>("logprobs", params.logprobs.value_or(0));
}

void fill_sampling(const GenerationParams& params, v1::SamplingParams& message) {
  const SamplingParams& sampling = params.sampling;
  message.set_temperature(static_cast<float>(sampling.temperature));
  message.set_top_p(static_cast<float>(sampling.top_p));
  message.set_min_p(static_cast<float>(sampling.min_p));
  message.set_repetition_penalty(static_cast<float>(sampling.repetition_penalty));
  message.set_frequency_penalty(static_cast<float>(sampling.frequency_penalty));
  message.set_presence_penalty(static_cast<float>(sampling.presence_penalty));
  message.set_top_k(static_cast<int32_t>(sampling.top_k));
  message.set_n(static_cast<int32_t>(params.num_samples));
  if (sampling.seed) message.set_seed(*sampling.seed);
  for (const auto& [id, bias] : sampling.logit_bias) (*message.mutable_logit_bias())[id] = static_cast<float>(bias);
}

void fill_stopping(const GenerationParams& params, v1::Stopping& message) {
  if (params.max_tokens) message.set_max_new_tokens(static_cast<uint32_t>(*params.max_tokens));
  message.set_min_new_tokens(static_cast<uint32_t>(params.min_tokens));
  for (const std::string& stop : params.stop) message.add_stop(stop);
  message.mutable_stop_token_ids()->Assign(params.stop_token_ids.begin(), params.stop_token_ids.end());
  message.set_ignore_eos(params.ignore_eos);
}

void fill_chat(const Conversation& conversation, v1::Chat& chat) {
  chat.set_continue_last(conversation.continue_last);
  for (const ChatMessage& message : conversation.messages) {
    v1::ChatMessage& added = *chat.add_messages();
    added.set_role(message.role);
    added.set_content(message.content);
  }
}

FinishReason from_message(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_LENGTH:
      return FinishReason::kLength;
    case v1::FINISH_REASON_EOS:
      return FinishReason::kEos;
    case v1::FINISH_REASON_STOP:
      return FinishReason::kStop;
    case v1::FINISH_REASON_CANCELLED:
      return FinishReason::kCancelled;
    case v1::FINISH_REASON_TIME_LIMIT:
      return FinishReason::kTimeLimit;
    case v1::FINISH_REASON_ERROR:
      return FinishReason::kError;
    default:
      return FinishReason::kNone;
  }
}

Logprobs logprobs_of(const v1::Token& token) {
  Logprobs logprobs{token.logprob(), {}};
  for (const v1::TokenLogprob& entry : token.top()) logprobs.top.push_back({entry.id(), entry.logprob()});
  return logprobs;
}

// The server's advice in its details; empty if there is none.
std::string advice_of(const std::string& serialized) {
  v1::StatusDetails details;
  if (!details.ParseFromString(serialized)) return "";
  for (const google::protobuf::Any& detail : details.details()) {
    v1::RetryInfo retry;
    if (!detail.type_url().ends_with("google.rpc.RetryInfo") || !retry.ParseFromString(detail.value())) continue;
    return fmt::format(" (worth another try in {:g} s)",
                       static_cast<double>(retry.retry_delay().seconds()) + 1e-9 * retry.retry_delay().nanos());
  }
  return "";
}

// Codes that say that the request, or how we call, is wrong: exit code 2.
bool is_our_fault(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::OUT_OF_RANGE:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<v1::GenerateRequest> to_message(const ClientCall& call) {
  OCTET_RETURN_IF_ERROR(check_numbers(call.params));
  v1::GenerateRequest message;
  message.set_request_id(call.request_id);
  message.set_model(call.model);
  if (const auto* prompt = std::get_if<TextPrompt>(&call.input)) {
    message.set_text(prompt->text);
    message.set_parse_special(prompt->parse_special);
  } else if (const auto* ids = std::get_if<std::vector<TokenId>>(&call.input)) {
    message.mutable_tokens()->mutable_ids()->Assign(ids->begin(), ids->end());
  } else {
    fill_chat(std::get<Conversation>(call.input), *message.mutable_chat());
  }
  fill_sampling(call.params, *message.mutable_sampling());
  fill_stopping(call.params, *message.mutable_stop());
  message.set_cache_salt(call.params.cache_salt);
  message.mutable_response()->set_return_token_ids(true);
  if (call.params.logprobs) message.mutable_response()->set_logprobs(static_cast<uint32_t>(*call.params.logprobs));
  if (call.resume) {
    v1::Resume& resume = *message.mutable_resume();
    resume.mutable_token_ids()->Assign(call.resume->token_ids.begin(), call.resume->token_ids.end());
    resume.set_sample_index(static_cast<uint32_t>(call.resume->sample_index));
  }
  return message;
}

v1::TokenizeRequest to_tokenize_message(const PromptSource& source) {
  v1::TokenizeRequest message;
  if (const auto* conversation = std::get_if<Conversation>(&source)) {
    fill_chat(*conversation, *message.mutable_chat());
  } else if (const auto* prompt = std::get_if<TextPrompt>(&source)) {
    message.set_text(prompt->text);
    message.set_parse_special(prompt->parse_special);
  }
  return message;
}

ReceivedChunk from_message(const v1::GenerateChunk& message) {
  ReceivedChunk chunk{.index = message.index(), .text = message.text(), .seed = message.seed()};
  for (const v1::Token& token : message.tokens()) {
    chunk.token_ids.push_back(token.id());
    if (token.has_logprob()) chunk.logprobs.push_back(logprobs_of(token));
  }
  chunk.finish = from_message(message.finish_reason());
  if (message.has_stop_text()) chunk.stop_text = message.stop_text();
  if (message.has_stop_token_id()) chunk.stop_token_id = message.stop_token_id();
  chunk.num_prompt_tokens = message.usage().prompt_tokens();
  chunk.num_cached_tokens = message.usage().cached_tokens();
  return chunk;
}

ServingInfo from_message(const v1::ServerInfo& message) {
  const v1::StepSeconds& seconds = message.step_seconds();
  return {message.device(),
          {seconds.schedule(), seconds.model(), seconds.sample(), seconds.deliver(), seconds.service()}};
}

ServedModelInfo from_message(const v1::ModelInfo& message) {
  const v1::SamplingParams& defaults = message.sampling_defaults();
  return {.name = message.name(),
          .vocab_size = message.vocab_size(),
          .max_context = message.max_context(),
          .has_tokenizer = message.has_tokenizer(),
          .defaults = {.temperature = defaults.temperature(),
                       .top_k = defaults.top_k(),
                       .top_p = defaults.top_p(),
                       .min_p = defaults.min_p(),
                       .repetition_penalty = defaults.repetition_penalty()}};
}

RpcStatus from_grpc(const grpc::Status& status, const std::string& server) {
  RpcStatus end;
  if (status.ok()) return end;
  end.code = static_cast<RpcCode>(status.error_code());
  std::string message = status.error_message().substr(0, status.error_message().find('\n'));
  if (message.empty()) message = rpc_code_name(end.code);
  const std::string advice = advice_of(status.error_details());
  end.has_advice = !advice.empty();
  message += advice;
  if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED)
    message += "; --api-key-file FILE sends the key in FILE";
  end.status = {is_our_fault(status.error_code()) ? StatusCode::kInvalidInput : StatusCode::kFailed,
                server + ": " + message};
  return end;
}

}  // namespace octet
