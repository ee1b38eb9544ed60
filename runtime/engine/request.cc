#include "runtime/engine/request.h"

#include <algorithm>

namespace octet {
namespace {

Status check_tokens(std::string_view field, const std::vector<TokenId>& tokens, int64_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) {
      return invalid_field(field, "[{}]: token {} is not in [0, {})", i, tokens[i], vocab_size);
    }
  }
  return ok_status();
}

Status check_integer(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return ok_status();
  return invalid_field(field, "{} is not in [{}, {}]", value, low, high);
}

bool wants_prompt_logits(const Request& request) {
  return request.all_prompt_logits || request.prompt_logprobs || !request.prompt_logit_positions.empty();
}

Status check_length(const Request& request, int64_t max_context) {
  const int64_t prompt_size = std::ssize(request.prompt);
  if (prompt_size == 0) return invalid_field("prompt", "has no tokens");
  if (prompt_size > max_context) {
    return invalid_field("prompt", "of {} tokens is longer than the context of {}", prompt_size, max_context);
  }
  const int64_t limit = output_limit(request, max_context);
  if (prompt_size + limit > max_context) {
    return invalid_field("prompt", "of {} tokens and max_tokens {} are longer than the context of {}", prompt_size,
                         limit, max_context);
  }
  if (limit < 0 || (limit == 0 && !wants_prompt_logits(request))) {
    return request.params.max_tokens
               ? invalid_field("max_tokens", "{} is below 1", limit)
               : invalid_field("prompt", "of {} tokens leaves no room in the context of {}", prompt_size, max_context);
  }
  return check_integer("min_tokens", request.params.min_tokens, 0, limit);
}

Status check_resumption(const Request& request, const RequestBounds& bounds) {
  OCTET_RETURN_IF_ERROR(check_tokens("resumed output", request.resumed_output, bounds.vocab_size));
  OCTET_RETURN_IF_ERROR(check_integer("sample index", request.first_sample_index, 0, bounds.max_num_samples - 1));
  if (request.resumed_output.empty()) return ok_status();
  if (request.params.num_samples != 1) {
    return invalid_field("num_samples", "{}: an output is resumed alone", request.params.num_samples);
  }
  const int64_t limit = output_limit(request, bounds.max_context);
  const int64_t resumed = std::ssize(request.resumed_output);
  if (resumed < limit) return ok_status();
  return invalid_field("resumed output", "tokens: {} is not in [1, {}]", resumed, limit - 1);
}

Status check_logit_positions(const Request& request) {
  const auto& positions = request.prompt_logit_positions;
  if (request.prompt_logprobs && !positions.empty()) {
    return invalid_field("prompt_logprobs", "{}: not beside logit positions", *request.prompt_logprobs);
  }
  for (size_t i = 0; i < positions.size(); ++i) {
    OCTET_RETURN_IF_ERROR(check_integer("logit position", positions[i], 0, std::ssize(request.prompt) - 1));
    if (i > 0 && positions[i] <= positions[i - 1]) {
      return invalid_field("logit position", "{} follows {}: not ascending", positions[i], positions[i - 1]);
    }
  }
  return ok_status();
}

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kTimeLimit:
      return "time_limit";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

Status validate_request(const Request& request, const RequestBounds& bounds) {
  const GenerationParams& params = request.params;
  OCTET_RETURN_IF_ERROR(check_length(request, bounds.max_context));
  OCTET_RETURN_IF_ERROR(check_tokens("prompt", request.prompt, bounds.vocab_size));
  OCTET_RETURN_IF_ERROR(params.sampling.validate(bounds.vocab_size));
  OCTET_RETURN_IF_ERROR(check_tokens("stop_token_ids", params.stop_token_ids, bounds.vocab_size));
  OCTET_RETURN_IF_ERROR(check_tokens("eos ids", request.eos_ids, bounds.vocab_size));
  OCTET_RETURN_IF_ERROR(check_integer("num_samples", params.num_samples, 1, bounds.max_num_samples));
  const int64_t max_logprobs = std::min(bounds.max_logprobs, bounds.vocab_size);
  OCTET_RETURN_IF_ERROR(check_integer("logprobs", params.logprobs.value_or(0), 0, max_logprobs));
  OCTET_RETURN_IF_ERROR(check_integer("prompt_logprobs", request.prompt_logprobs.value_or(0), 0, max_logprobs));
  OCTET_RETURN_IF_ERROR(check_integer("priority", request.priority, -kMaxPriority, kMaxPriority));
  OCTET_RETURN_IF_ERROR(check_resumption(request, bounds));
  return check_logit_positions(request);
}

int64_t output_limit(const Request& request, int64_t max_context) {
  return request.params.max_tokens.value_or(max_context - std::ssize(request.prompt));
}

}  // namespace octet
