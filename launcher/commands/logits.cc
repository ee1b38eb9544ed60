// octet logits: what the model computes, as numbers.
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/open_session.h"
#include "launcher/output.h"
#include "launcher/text_input.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/safetensors_writer.h"
#include "runtime/engine/engine.h"

namespace octet {
namespace {

class LogitsCommand final : public Command {
 public:
  const char* name() const override { return "logits"; }
  const char* summary() const override { return "The model's logits for a prompt or token ids, as a safetensors file"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet logits \"In the beginning\" --out logits.safetensors\n"
           "  octet logits --ids ids.json --positions 0,5,9 --out logits.safetensors\n"
           "The file holds one F32 tensor \"logits\" [positions, vocabulary]; row i follows token positions[i].";
  }

  void declare(CLI::App& app) override {
    declare_text_input(app, input_, "PROMPT", "the prompt");
    ids_option_ = app.add_option("--ids", ids_file_, "a JSON array of token ids, used as given")->type_name("FILE");
    ids_option_->excludes(input_.text_option)->excludes(input_.file_option);
    app.add_option("--positions", positions_, "ascending positions whose logits to write (default: all)")
        ->delimiter(',')
        ->type_name("N,N,…");
    app.add_option("--out", out_, "the file to write; - for standard output")->required()->type_name("FILE");
    declare_model_flags(app, model_);
  }

  Status run() override {
    catch_interrupts();
    OCTET_ASSIGN_OR_RETURN(const auto session, open_session(model_, {.all_logits = true}));
    if (!session->leads()) return session->follow();
    std::string text;
    const bool from_ids = ids_option_->count() > 0;
    if (from_ids) {
      OCTET_ASSIGN_OR_RETURN(text, read_input_file(ids_file_));
    } else {
      OCTET_ASSIGN_OR_RETURN(text, read_text_input(input_));
      OCTET_RETURN_IF_ERROR(check_utf8(text, "the prompt"));
    }
    std::vector<TokenId> ids;
    if (from_ids) {
      OCTET_ASSIGN_OR_RETURN(ids, parse_token_ids(text));
    } else {
      OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session->require_tokenizer());
      ids = tokenizer->with_special_tokens(tokenizer->encode_prompt(text, false));
    }
    return write_logits(*session, std::move(ids));
  }

 private:
  Status write_logits(Session& session, std::vector<TokenId> ids) {
    if (positions_.empty()) {
      for (int64_t p = 0; p < std::ssize(ids); ++p) positions_.push_back(p);
    }
    Request request;
    request.prompt = std::move(ids);
    request.params.max_tokens = 0;
    request.params.sampling.temperature = 0;
    request.prompt_logit_positions = positions_;
    OCTET_RETURN_IF_ERROR(validate_request(request, session.request_bounds()));
    const TensorDeclaration declaration{"logits", DType::kF32, {std::ssize(positions_), session.config().vocab_size}};
    OCTET_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(out_, {&declaration, 1}));
    OCTET_RETURN_IF_ERROR(session.load());
    Status written;
    RequestCallbacks callbacks;
    callbacks.on_prompt_logits = [&](int64_t, std::span<const float> logits) {
      if (written.ok()) written = writer.append(std::as_bytes(logits));
    };
    Engine engine(session.runner(), session.engine_options());
    OCTET_ASSIGN_OR_RETURN([[maybe_unused]] const RequestId id,
                           engine.submit(std::move(request), std::move(callbacks)));
    for (bool more = true; more && written.ok();) {
      OCTET_RETURN_IF_ERROR(check_interrupted());
      OCTET_ASSIGN_OR_RETURN(more, engine.step());
    }
    OCTET_RETURN_IF_ERROR(written);
    OCTET_RETURN_IF_ERROR(writer.finish());
    log_info("{}: logits of {} positions", out_, positions_.size());
    return ok_status();
  }

  TextInput input_;
  std::string ids_file_;
  CLI::Option* ids_option_ = nullptr;
  std::vector<int64_t> positions_;
  std::string out_;
  ModelFlags model_;
};

}  // namespace

std::unique_ptr<Command> make_logits_command() { return std::make_unique<LogitsCommand>(); }

}  // namespace octet
