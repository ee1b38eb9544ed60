#include "runtime/service/grpc/prompt_parser.h"

#include "runtime/base/utf8.h"
#include "runtime/text/detokenizer.h"

namespace octet {
namespace {

Status check_tokenizer(const char* field, const ServedModel& model) {
  return model.tokenizer != nullptr ? ok_status() : invalid_field(field, "the model has no tokenizer, only tokens");
}

Status check_bytes(const char* field, int64_t num_bytes, const ServiceLimits& limits) {
  if (num_bytes <= limits.max_prompt_bytes) return ok_status();
  return invalid_field(field, "{} bytes are more than {}", num_bytes, limits.max_prompt_bytes);
}

// Request: of either kind, with text.
template <typename Request>
Result<ParsedPrompt> parse_text(const Request& request, const ServedModel& model, const ServiceLimits& limits) {
  const std::string& text = request.text();
  OCTET_RETURN_IF_ERROR(check_tokenizer("text", model));
  if (text.empty()) return invalid_field("text", "is empty");
  OCTET_RETURN_IF_ERROR(check_bytes("text", std::ssize(text), limits));
  if (!is_valid_utf8(text)) return invalid_field("text", "is not UTF-8");
  const SpecialTokens special = model.special_tokens();
  ParsedPrompt prompt{.ids = model.tokenizer->encode_prompt(text, request.parse_special())};
  const bool has_bos = !prompt.ids.empty() && prompt.ids.front() == special.begin;  // spelt by the client
  const bool add_bos = request.has_add_bos() ? request.add_bos() : special.add_bos;
  if (add_bos && !has_bos) prompt.ids.insert(prompt.ids.begin(), special.begin);
  if (special.add_eos) prompt.ids.push_back(*special.eos);
  return prompt;
}

Result<ParsedPrompt> parse_chat(const v1::Chat& chat, const ServedModel& model, const ServiceLimits& limits) {
  OCTET_RETURN_IF_ERROR(check_tokenizer("chat", model));
  if (!model.chat_template) return invalid_field("chat", "the model has no chat template");
  std::vector<ChatMessage> messages;
  int64_t num_bytes = 0;
  for (const v1::ChatMessage& message : chat.messages()) {
    num_bytes += std::ssize(message.content()) + std::ssize(message.role()) + std::ssize(message.name());
    messages.push_back({message.role(), message.content()});
    if (!is_valid_utf8(message.content())) return invalid_field("chat", "message {}: is not UTF-8", messages.size());
  }
  OCTET_RETURN_IF_ERROR(check_bytes("chat", num_bytes, limits));
  if (const Status status = check_conversation(messages, chat.continue_last()); !status.ok()) {
    return invalid_field("chat", "{}", status.message());
  }
  if (model.safe_prompt) messages = with_safe_prompt(std::move(messages));
  auto ids = model.chat_template->encode(messages, *model.tokenizer, chat.continue_last());
  if (!ids.ok()) return invalid_field("chat", "{}", ids.status().message());
  return ParsedPrompt{.ids = *std::move(ids), .answer_end = model.chat_template->answer_end_id(*model.tokenizer)};
}

// What both kinds of request have in common.
template <typename TextOrChat>
Result<ParsedPrompt> parse_text_or_chat(const TextOrChat& request, const ServedModel& model,
                                        const ServiceLimits& limits) {
  if (request.has_text()) return parse_text(request, model, limits);
  if (request.parse_special()) return invalid_field("parse_special", "is set, and there is no text");
  if (!request.has_chat()) return invalid_field("text", "no input is set");
  if (request.has_add_bos()) return invalid_field("add_bos", "is set, and the chat format decides");
  return parse_chat(request.chat(), model, limits);
}

}  // namespace

Result<ParsedPrompt> parse_prompt(const v1::GenerateRequest& request, const ServedModel& model,
                                  const ServiceLimits& limits) {
  if (!request.has_tokens()) return parse_text_or_chat(request, model, limits);
  ParsedPrompt prompt;
  if (request.add_bos()) prompt.ids.push_back(model.special_tokens().begin);
  prompt.ids.insert(prompt.ids.end(), request.tokens().ids().begin(), request.tokens().ids().end());
  return prompt;
}

Result<ParsedPrompt> parse_prompt(const v1::TokenizeRequest& request, const ServedModel& model,
                                  const ServiceLimits& limits) {
  return parse_text_or_chat(request, model, limits);
}

Result<std::string> parse_detokenize(const v1::DetokenizeRequest& request, const ServedModel& model) {
  OCTET_RETURN_IF_ERROR(check_tokenizer("ids", model));
  if (request.ids_size() > model.bounds.max_context) {
    return invalid_field("ids", "{} tokens are more than the context of {}", request.ids_size(),
                         model.bounds.max_context);
  }
  StreamingDetokenizer detokenizer(*model.tokenizer, {.strip_leading_space = model.tokenizer->adds_leading_space(),
                                                      .keep_special = request.keep_special()});
  std::string text;
  for (int i = 0; i < request.ids_size(); ++i) {
    const TokenId id = request.ids(i);
    if (id < 0 || id >= model.bounds.vocab_size) {
      return invalid_field("ids", "[{}]: token {} is not in [0, {})", i, id, model.bounds.vocab_size);
    }
    text += detokenizer.add(id);
  }
  return text + detokenizer.flush();
}

}  // namespace octet
