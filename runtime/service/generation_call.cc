#include "runtime/service/generation_call.h"

namespace octet {

Status GenerationCall::set_call(GenerateCall call, const Tokenizer* tokenizer) {
  call_ = std::move(call);
  call_->request_id = request_id_;
  call_->arrival = arrival_;
  last_tokens_.resize(static_cast<size_t>(call_->request.params.num_samples));
  OCTET_ASSIGN_OR_RETURN(OutputAssembler assembler, OutputAssembler::create(*call_, tokenizer, *sink_));
  assembler_.emplace(std::move(assembler));
  return ok_status();
}

std::optional<GenerationCall::Clock::time_point> GenerationCall::time_limit() const {
  if (!call_->time_limit) return std::nullopt;
  return arrival_ + *call_->time_limit;
}

void GenerationCall::on_deadline() { end({.code = CallEndCode::kDeadline, .message = "the deadline has passed"}); }

void GenerationCall::on_refusal(const Status& status) {
  const bool is_bad = status.code() == StatusCode::kInvalidInput;
  end({.code = is_bad ? CallEndCode::kInvalidArgument : CallEndCode::kInternal, .message = status.message()});
}

bool GenerationCall::on_token(const TokenEvent& event) {
  observer_.on_token(*this, event);
  return assembler_->on_token(event);
}

void GenerationCall::on_finish(const FinishEvent& event) {
  assembler_->on_finish(event);
  observer_.on_sample(*this, event);  // first: who has its answer finds it in the metrics
  if (event.reason == FinishReason::kError) {
    end({.code = CallEndCode::kInternal, .message = event.status.message()});
  } else if (done()) {
    end({});
  }
}

}  // namespace octet
