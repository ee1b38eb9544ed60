#include "launcher/remote_generator.h"

#include "launcher/remote_generation.h"

namespace octet {

Result<std::unique_ptr<RemoteGenerator>> RemoteGenerator::connect(const ClientFlags& flags, const std::string& model,
                                                                  bool safe_prompt) {
  OCTET_ASSIGN_OR_RETURN(auto client, ServiceClient::create(flags.client));
  std::unique_ptr<RemoteGenerator> generator(new RemoteGenerator(std::move(client), flags.resume_within, safe_prompt));
  OCTET_RETURN_IF_ERROR(generator->client_->get_model_info(model, generator->model_).status);
  return generator;
}

Result<int64_t> RemoteGenerator::count_tokens(const PromptSource& source) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&source)) return std::ssize(*ids);
  std::vector<TokenId> ids;
  OCTET_RETURN_IF_ERROR(client_->tokenize(source, ids).status);
  return std::ssize(ids);
}

Result<PreparedPrompt> RemoteGenerator::prepare(PromptSource source) {
  auto* conversation = std::get_if<Conversation>(&source);
  if (conversation != nullptr && safe_prompt_) {
    conversation->messages = with_safe_prompt(std::move(conversation->messages));
  }
  OCTET_ASSIGN_OR_RETURN(const int64_t num_tokens, count_tokens(source));
  PreparedPrompt prompt{.num_tokens = num_tokens};
  prompt.content.emplace<PromptSource>(std::move(source));
  return prompt;
}

// What the service refuses it says when it is asked.
Status RemoteGenerator::check(PreparedPrompt&, const GenerationParams&) { return ok_status(); }

Status RemoteGenerator::generate(PreparedPrompt prompt, const GenerationParams& params, const GenerationHooks& hooks,
                                 GenerationResult& result) {
  ClientCall call{.model = model_.name, .input = std::get<PromptSource>(std::move(prompt.content)), .params = params};
  if (!call.params.sampling.seed) call.params.sampling.seed = draw_seed();
  result = {};
  result.seed = *call.params.sampling.seed;
  result.has_text = model_.has_tokenizer;
  result.has_logprobs = params.logprobs.has_value();
  return RemoteGeneration(*client_, call, patience_, hooks, result).run();
}

}  // namespace octet
