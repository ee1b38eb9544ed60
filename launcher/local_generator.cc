#include "launcher/local_generator.h"

#include "runtime/session/generation.h"

namespace octet {

Result<int64_t> LocalGenerator::count_tokens(const PromptSource& source) {
  OCTET_ASSIGN_OR_RETURN(const GenerateCall call, prompts_.build(source, {}));
  return std::ssize(call.request.prompt);
}

Status LocalGenerator::check(const PromptSource& source, const GenerationParams& params) {
  OCTET_ASSIGN_OR_RETURN(GenerateCall call, prompts_.build(source, params));
  return Generation(std::move(call), session_.tokenizer()).validate(session_.request_bounds());
}

Status LocalGenerator::load() {
  OCTET_RETURN_IF_ERROR(session_.load());
  engine_.emplace(session_.runner(), session_.engine_options());
  return ok_status();
}

Status LocalGenerator::generate(const PromptSource& source, const GenerationParams& params,
                                const GenerationHooks& hooks, GenerationResult& result) {
  OCTET_ASSIGN_OR_RETURN(GenerateCall call, prompts_.build(source, params));
  Generation generation(std::move(call), session_.tokenizer(), hooks.on_text);
  OCTET_RETURN_IF_ERROR(generation.submit(*engine_));
  Status status;
  while (!generation.done() && status.ok()) {
    if (hooks.should_stop()) engine_->cancel(generation.id());
    status = engine_->step().status();
  }
  result = generation.result();
  result.load_seconds = session_.load_seconds();
  return status;
}

}  // namespace octet
