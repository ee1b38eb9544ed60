// LocalGenerator: prompts answered by a model in this process.
#pragma once

#include <optional>

#include "launcher/generator.h"
#include "launcher/prompt_builder.h"
#include "runtime/engine/engine.h"
#include "runtime/session/session.h"

namespace octet {

class LocalGenerator final : public Generator {
 public:
  // The session outlives it and is not loaded yet.
  LocalGenerator(Session& session, ChatFlags chat) : session_(session), prompts_(session, std::move(chat)) {}

  const GenerationDefaults& defaults() const override { return session_.generation_defaults(); }
  int64_t max_context() const override { return session_.request_bounds().max_context; }
  Result<PreparedPrompt> prepare(PromptSource source) override;
  Status check(PreparedPrompt& prompt, const GenerationParams& params) override;
  Status load() override;
  Status generate(PreparedPrompt prompt, const GenerationParams& params, const GenerationHooks& hooks,
                  GenerationResult& result) override;

 private:
  Session& session_;
  PromptBuilder prompts_;
  std::optional<Engine> engine_;  // once loaded
};

}  // namespace octet
