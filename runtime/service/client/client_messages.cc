#include "runtime/service/client/client_messages.h"

#include <google/protobuf/message.h>

#include "runtime/service/grpc/param_fields.h"

namespace octet {
namespace {

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
  v1::GenerateRequest message;
  OCTET_RETURN_IF_ERROR(write_param_fields(call.params, message));
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
  message.mutable_response()->set_return_token_ids(true);
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
  v1::GenerateRequest request;
  *request.mutable_sampling() = message.sampling_defaults();
  GenerationParams defaults;
  read_param_fields(request, defaults);
  return {.name = message.name(),
          .vocab_size = message.vocab_size(),
          .max_context = message.max_context(),
          .has_tokenizer = message.has_tokenizer(),
          .defaults = defaults.sampling};
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
