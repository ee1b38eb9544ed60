// octet generate: text from a prompt.
#include <nlohmann/json.hpp>

#include "launcher/batch_run.h"
#include "launcher/client_flags.h"
#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/local_generator.h"
#include "launcher/open_session.h"
#include "launcher/output.h"
#include "launcher/remote_generator.h"
#include "launcher/result_json.h"
#include "launcher/sampling_flags.h"
#include "launcher/text_input.h"
#include "runtime/base/log.h"
#include "runtime/session/generation.h"

namespace octet {
namespace {

class GenerateCommand final : public Command {
 public:
  const char* name() const override { return "generate"; }
  const char* summary() const override { return "Generate text from a prompt"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet generate \"In the beginning\"\n"
           "  octet generate --temperature 0 --max-tokens 50 --file prompt.txt\n"
           "  echo \"static int\" | octet generate - --stop \"}\" --seed 7\n"
           "  octet generate --ids ids.json --json         token ids in, one JSON object out\n"
           "  octet generate --chat chat.json              [{\"role\": \"user\", \"content\": \"Hello\"}]\n"
           "  octet generate --server localhost:50051 \"In the beginning\"     octet serve answers\n"
           "  octet generate --input in.jsonl --output out.jsonl\n"
           "An input line is {\"id\"?, \"prompt\" | \"ids\" | \"messages\", \"parse_special\"?, \"continue_last\"?, "
           "any sampling "
           "flag\nwith underscores}; run again, the command\nanswers what is not answered yet. Lines of OpenAI's batch "
           "files are answered in "
           "their own form.";
  }

  void declare(CLI::App& app) override {
    declare_text_input(app, input_, "PROMPT", "the prompt");
    const auto source = [&](const char* flag, std::string& file, const char* help) {
      CLI::Option* option = app.add_option(flag, file, help)->type_name("FILE");
      return option->excludes(input_.text_option)->excludes(input_.file_option);
    };
    ids_option_ = source("--ids", source_file_, "prompt as a JSON array of token ids, used as given");
    chat_option_ = source("--chat", source_file_, "a conversation as a JSON array of {role, content}, to be answered");
    batch_option_ = source("--input", source_file_, "many requests, one JSON object a line");
    chat_option_->excludes(ids_option_);
    batch_option_->excludes(ids_option_)->excludes(chat_option_);
    CLI::Option* output = app.add_option("--output", output_file_,
                                         "where the answers to --input go, one a line: a file, which a second run goes "
                                         "on with; a pipe or a device; - for standard output");
    output->type_name("FILE")->needs(batch_option_);
    batch_option_->needs(output);
    app.add_flag("--json", json_, "print one JSON object (one a line with --num-samples) instead of text");
    declare_prompt_flags(app, prompt_, chat_option_);
    app.get_option("--parse-special")->excludes(ids_option_)->excludes(batch_option_);
    declare_chat_flags(app, chat_);
    declare_client_flags(app, client_);
    app.get_option("--server")->excludes(batch_option_);
    sampling_.declare(app);
    declare_generation_config(app, model_);
    declare_model_flags(app, model_);
    app_ = &app;
  }

  Status run() override {
    catch_interrupts();
    if (client_.given()) {
      OCTET_RETURN_IF_ERROR(check_client_flags(*app_, chat_));
      OCTET_ASSIGN_OR_RETURN(const auto generator, RemoteGenerator::connect(client_, model_.model, chat_.safe_prompt));
      return generate(*generator);
    }
    OCTET_ASSIGN_OR_RETURN(const auto session, open_session(model_));
    if (!session->leads()) return session->follow();
    if (batch_option_->count() > 0) return run_batch(*session);
    LocalGenerator generator(*session, chat_);
    return generate(generator);
  }

 private:
  Result<std::string> read_source() const {
    const bool from_file = ids_option_->count() + chat_option_->count() + batch_option_->count() > 0;
    return from_file ? read_input_file(source_file_) : read_text_input(input_);
  }

  Result<PromptSource> parse_source(const std::string& text) const {
    if (ids_option_->count() > 0) {
      OCTET_ASSIGN_OR_RETURN(std::vector<TokenId> ids, parse_token_ids(text));
      return PromptSource(std::move(ids));
    }
    if (chat_option_->count() > 0) {
      OCTET_ASSIGN_OR_RETURN(Conversation conversation, parse_chat_file(source_file_, text, prompt_.continue_last));
      return PromptSource(std::move(conversation));
    }
    return PromptSource(TextPrompt(text, prompt_.parse_special == "on"));
  }

  Status run_batch(Session& session) {
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_source());
    OCTET_ASSIGN_OR_RETURN(const GenerationParams params, sampling_.params(session.generation_defaults()));
    PromptBuilder prompts(session, chat_);
    OCTET_ASSIGN_OR_RETURN(BatchOutput output, BatchOutput::open(output_file_));
    BatchRun batch(session, prompts, output, parse_batch(text, params));
    if (batch.num_left() == 0) {
      log_info("{}: every request of {} is answered", output_file_, source_file_);
      return ok_status();
    }
    OCTET_RETURN_IF_ERROR(session.load());
    Engine engine(session.runner(), session.engine_options());
    return batch.run(engine);
  }

  Status generate(Generator& generator) {
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_source());
    OCTET_ASSIGN_OR_RETURN(GenerationParams params, sampling_.params(generator.defaults()));
    OCTET_ASSIGN_OR_RETURN(PromptSource source, parse_source(text));
    const bool is_text = std::holds_alternative<TextPrompt>(source);
    OCTET_ASSIGN_OR_RETURN(PreparedPrompt prompt, generator.prepare(std::move(source)));
    apply_default_max_tokens(params, prompt.num_tokens, generator.max_context());
    OCTET_RETURN_IF_ERROR(generator.check(prompt, params));
    OCTET_RETURN_IF_ERROR(generator.load());
    const bool stream = !json_ && params.num_samples == 1;
    // A terminal shows the prompt in front of the output.
    if (stream && is_text && output_is_terminal()) OCTET_RETURN_IF_ERROR(print(text));
    Status output_status;
    GenerationHooks hooks;
    hooks.on_text = [&](int64_t, const std::string& piece) {
      if (stream && output_status.ok()) output_status = print(piece);
    };
    hooks.should_stop = [&] { return !output_status.ok() || !check_interrupted().ok(); };
    GenerationResult result;
    const Status status = generator.generate(std::move(prompt), params, hooks, result);
    OCTET_RETURN_IF_ERROR(output_status);
    const Status ended = status.ok() ? check_interrupted() : status;
    if (!ended.ok() && stream && result.num_tokens() > 0) OCTET_RETURN_IF_ERROR(print("\n"));
    OCTET_RETURN_IF_ERROR(ended);
    return report(result, stream);
  }

  Status report(const GenerationResult& result, bool streamed) const {
    for (size_t i = 0; i < result.outputs.size(); ++i) {
      const GenerationOutput& output = result.outputs[i];
      OCTET_RETURN_IF_ERROR(output.status);
      if (json_) {
        auto object = result_json(result, i);
        if (result.outputs.size() > 1) object["index"] = i;
        OCTET_RETURN_IF_ERROR(print_line(dump_json(object)));
      } else if (!result.has_text) {
        OCTET_RETURN_IF_ERROR(print_line(fmt::format("{}", fmt::join(output.token_ids, " "))));
      } else {
        OCTET_RETURN_IF_ERROR(print_line(streamed ? "" : output.text));
      }
    }
    log_info("first token after {:.3f} s (prefill {:.1f} tokens/s), then {:.1f} tokens/s", result.time_to_first_token(),
             result.prefill_tokens_per_second(), result.decode_tokens_per_second());
    return ok_status();
  }

  TextInput input_;
  std::string source_file_;  // of --ids, --chat or --input
  CLI::Option* ids_option_ = nullptr;
  CLI::Option* chat_option_ = nullptr;
  CLI::Option* batch_option_ = nullptr;
  std::string output_file_;
  bool json_ = false;
  PromptFlags prompt_;
  ChatFlags chat_;
  SamplingFlags sampling_;
  ClientFlags client_;
  ModelFlags model_;
  const CLI::App* app_ = nullptr;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

}  // namespace octet
