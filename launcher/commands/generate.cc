// octet generate: text from a prompt.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/generation.h"
#include "launcher/interrupt.h"
#include "launcher/output.h"
#include "launcher/sampling_flags.h"
#include "launcher/session.h"
#include "launcher/text_input.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

constexpr int64_t kDefaultMaxTokens = 256;

class GenerateCommand final : public Command {
 public:
  const char* name() const override { return "generate"; }
  const char* summary() const override { return "Generate text from a prompt"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet generate \"In the beginning\"\n"
           "  octet generate --temperature 0 --max-tokens 50 --file prompt.txt\n"
           "  echo \"static int\" | octet generate - --stop \"}\" --seed 7\n"
           "  octet generate --ids ids.json --json         token ids in, one JSON object out";
  }

  void declare(CLI::App& app) override {
    declare_text_input(app, input_, "PROMPT", "the prompt");
    ids_option_ =
        app.add_option("--ids", ids_file_, "prompt as a JSON array of token ids, used as given")->type_name("FILE");
    ids_option_->excludes(input_.text_option)->excludes(input_.file_option);
    app.add_flag("--json", json_, "print one JSON object (one a line with --num-samples) instead of text");
    sampling_.declare(app);
    declare_model_flags(app, model_);
  }

  Status run() override {
    catch_interrupts();
    OCTET_ASSIGN_OR_RETURN(const auto session, Session::open(model_, {}));
    if (!session->leads()) return session->follow();
    if (ids_option_->count() > 0) {
      OCTET_ASSIGN_OR_RETURN(ids_text_, read_input_file(ids_file_));
    } else {
      OCTET_ASSIGN_OR_RETURN(prompt_text_, read_text_input(input_));
    }
    OCTET_ASSIGN_OR_RETURN(GenerationInput input, make_input(*session));
    OCTET_RETURN_IF_ERROR(Generation(input, session->tokenizer()).validate(session->request_bounds()));
    OCTET_RETURN_IF_ERROR(session->load());
    return generate(*session, std::move(input));
  }

 private:
  Result<GenerationInput> make_input(const Session& session) const {
    GenerationInput input;
    input.eos_ids = session.config().eos_ids;
    OCTET_ASSIGN_OR_RETURN(input.params, sampling_.params(session.generation_defaults()));
    if (ids_option_->count() > 0) {
      OCTET_ASSIGN_OR_RETURN(input.prompt, parse_token_ids(ids_text_));
    } else {
      OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session.require_tokenizer());
      input.prompt = tokenizer->encode(prompt_text_);
      input.prompt.insert(input.prompt.begin(), session.config().bos_id);
    }
    if (!input.params.max_tokens) {
      const int64_t room = session.config().max_positions - std::ssize(input.prompt);
      input.params.max_tokens = std::max(std::min(kDefaultMaxTokens, room), input.params.min_tokens);
    }
    return input;
  }

  Status generate(Session& session, GenerationInput input) const {
    const bool stream = !json_ && input.params.num_samples == 1;
    if (stream && isatty(STDOUT_FILENO) != 0) OCTET_RETURN_IF_ERROR(print(prompt_text_));
    Status output_status;
    const auto on_text = [&](int64_t, const std::string& text) {
      if (stream && output_status.ok()) output_status = print(text);
    };
    Generation generation(std::move(input), session.tokenizer(), on_text);
    Engine engine(session.runner(), session.engine_options());
    OCTET_RETURN_IF_ERROR(generation.submit(engine));
    for (bool more = true; more && output_status.ok();) {
      if (const Status status = check_interrupted(); !status.ok()) {
        if (stream) OCTET_RETURN_IF_ERROR(print("\n"));
        return status;
      }
      OCTET_ASSIGN_OR_RETURN(more, engine.step());
    }
    OCTET_RETURN_IF_ERROR(output_status);
    return report(session, generation, stream);
  }

  Status report(const Session& session, const Generation& generation, bool streamed) const {
    for (size_t i = 0; i < generation.outputs().size(); ++i) {
      const GenerationOutput& output = generation.outputs()[i];
      OCTET_RETURN_IF_ERROR(output.status);
      if (json_) {
        auto object = generation.to_json(i, session.load_seconds());
        if (generation.outputs().size() > 1) object["index"] = i;
        OCTET_RETURN_IF_ERROR(print_line(dump_json(object)));
      } else if (session.tokenizer() == nullptr) {
        OCTET_RETURN_IF_ERROR(print_line(fmt::format("{}", fmt::join(output.token_ids, " "))));
      } else {
        OCTET_RETURN_IF_ERROR(print_line(streamed ? "" : output.text));
      }
    }
    log_info("first token after {:.3f} s (prefill {:.1f} tokens/s), then {:.1f} tokens/s",
             generation.time_to_first_token(), generation.prefill_tokens_per_second(),
             generation.decode_tokens_per_second());
    return ok_status();
  }

  TextInput input_;
  std::string ids_file_;
  CLI::Option* ids_option_ = nullptr;
  bool json_ = false;
  SamplingFlags sampling_;
  ModelFlags model_;
  std::string prompt_text_;
  std::string ids_text_;
};

}  // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

}  // namespace octet
