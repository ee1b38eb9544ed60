#include "launcher/local_generator.h"

#include "runtime/session/generation.h"

namespace octet {

Result<PreparedPrompt> LocalGenerator::prepare(PromptSource source) {
  OCTET_ASSIGN_OR_RETURN(GenerateCall call, prompts_.build(std::move(source), {}));
  const int64_t num_tokens = std::ssize(call.request.prompt);
  return PreparedPrompt{num_tokens, std::move(call)};
}

Status LocalGenerator::check(PreparedPrompt& prompt, const GenerationParams& params) {
  auto& call = std::get<GenerateCall>(prompt.content);
  call.request.params = params;
  return check_generation(call, session_.tokenizer(), session_.request_bounds());
}

Status LocalGenerator::load() {
  OCTET_RETURN_IF_ERROR(session_.load());
  engine_.emplace(session_.runner(), session_.engine_options());
  return ok_status();
}

Status LocalGenerator::generate(PreparedPrompt prompt, const GenerationParams& params, const GenerationHooks& hooks,
                                GenerationResult& result) {
  auto& call = std::get<GenerateCall>(prompt.content);
  call.request.params = params;
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
