// RemoteGenerator: prompts answered by a service.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "launcher/client_flags.h"
#include "launcher/generator.h"
#include "runtime/service/client/client.h"

namespace octet {

class RemoteGenerator final : public Generator {
 public:
  // Asks the service what it serves. model: the name that this must have; empty: any. safe_prompt: in front of
  // conversations.
  static Result<std::unique_ptr<RemoteGenerator>> connect(const ClientFlags& flags, const std::string& model,
                                                          bool safe_prompt);

  const GenerationDefaults& defaults() const override { return model_.defaults; }
  int64_t max_context() const override { return model_.max_context; }
  Result<PreparedPrompt> prepare(PromptSource source) override;
  Status check(PreparedPrompt& prompt, const GenerationParams& params) override;
  Status load() override { return ok_status(); }  // it is loaded
  Status generate(PreparedPrompt prompt, const GenerationParams& params, const GenerationHooks& hooks,
                  GenerationResult& result) override;

 private:
  RemoteGenerator(std::unique_ptr<ServiceClient> client, int patience, bool safe_prompt)
      : client_(std::move(client)), patience_(patience), safe_prompt_(safe_prompt) {}
  Result<int64_t> count_tokens(const PromptSource& source);

  std::unique_ptr<ServiceClient> client_;
  std::chrono::seconds patience_;
  bool safe_prompt_;
  ServedModelInfo model_;
};

}  // namespace octet
