#include "launcher/local_generator.h"

#include "launcher/generation.h"

namespace octet {

Result<PreparedPrompt> LocalGenerator::prepare(PromptSource source) {
  OCTET_ASSIGN_OR_RETURN(GenerationInput input, prompts_.build(std::move(source), {}));
  const int64_t num_tokens = std::ssize(input.request.prompt);
  return PreparedPrompt{num_tokens, std::move(input)};
}

Status LocalGenerator::check(PreparedPrompt& prompt, const GenerationParams& params) {
  auto& input = std::get<GenerationInput>(prompt.content);
  input.request.params = params;
  return check_generation(input, session_.tokenizer(), session_.request_bounds());
}

Status LocalGenerator::load() {
  OCTET_RETURN_IF_ERROR(session_.load());
  engine_.emplace(session_.runner(), session_.engine_options());
  return ok_status();
}

Status LocalGenerator::generate(PreparedPrompt prompt, const GenerationParams& params, const GenerationHooks& hooks,
                                GenerationResult& result) {
  auto& input = std::get<GenerationInput>(prompt.content);
  input.request.params = params;
  Generation generation(std::move(input), session_.tokenizer(), hooks.on_text);
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
