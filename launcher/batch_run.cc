#include "launcher/batch_run.h"

#include "launcher/interrupt.h"
#include "launcher/openai_answer.h"
#include "launcher/result_json.h"
#include "runtime/base/hash.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

int64_t num_samples(const BatchLine& line) { return line.request.ok() ? line.request->params.num_samples : 1; }

}  // namespace

BatchRun::BatchRun(const Session& session, PromptBuilder& prompts, BatchOutput& output, std::vector<BatchLine> lines)
    : session_(session), prompts_(prompts), output_(output), lines_(std::move(lines)) {
  std::erase_if(lines_, [this](const BatchLine& line) {
    return line.request.ok() && output_.progress().complete(line.id, num_samples(line));
  });
}

Status BatchRun::run(Engine& engine) {
  start_ = GenerationResult::Clock::now();
  ProgressBar bar("answering", std::ssize(lines_), fmt::format("{} requests", lines_.size()));
  const size_t limit = 2 * static_cast<size_t>(session_.engine_options().max_batch);  // as many wait as run
  for (bool more = true; more;) {
    OCTET_RETURN_IF_ERROR(check_interrupted());
    OCTET_RETURN_IF_ERROR(fill(engine, limit));
    OCTET_RETURN_IF_ERROR(engine.step().status());
    OCTET_RETURN_IF_ERROR(write_finished());
    show_progress(bar);
    more = next_ < lines_.size() || !active_.empty();
  }
  bar.clear();
  OCTET_RETURN_IF_ERROR(output_.sync());
  log_info("{} requests, {} failed, {} tokens in {:.1f} s ({:.1f} tokens/s)", lines_.size(), num_failed_,
           num_tokens_written_, seconds(), static_cast<double>(num_tokens_written_) / seconds());
  if (num_failed_ == 0) return ok_status();
  return failed("{} of {} requests failed; the lines with \"error\" in {} say why", num_failed_, lines_.size(),
                output_.path().string());
}

Status BatchRun::fill(Engine& engine, size_t limit) {
  for (; next_ < lines_.size() && active_.size() < limit; ++next_) {
    const Status status = submit(engine, next_);
    if (!status.ok()) OCTET_RETURN_IF_ERROR(write_error(lines_[next_], status, lines_[next_].openai_error));
    lines_[next_] = {"", ok_status()};  // a file of a million lines is not kept longer than it is needed
  }
  return ok_status();
}

Status BatchRun::submit(Engine& engine, size_t index) {
  BatchLine& line = lines_[index];
  OCTET_RETURN_IF_ERROR(line.request.status());
  const auto refuse = [&line](const Status& status, std::string_view field) {
    OpenAiError& error = line.openai_error;
    if (line.openai && error.message.empty()) {
      error.message = status.message();
      error.param = openai_field(*line.openai, field);
    }
    return status;
  };
  auto call = prompts_.build(std::move(line.request->input), std::move(line.request->params));
  if (!call.ok()) return refuse(call.status(), "prompt");
  if (line.openai) {
    OCTET_RETURN_IF_ERROR(check_openai(line, *call));
  } else {
    Request& request = call->request;
    apply_default_max_tokens(request.params, std::ssize(request.prompt), session_.request_bounds().max_context);
  }
  Active active{{line.id, ok_status(), line.openai},
                std::make_unique<Generation>(*std::move(call), session_.tokenizer())};
  const Status submitted = active.generation->submit(engine, [this, index] { finished_.push_back(index); });
  if (!submitted.ok()) return refuse(submitted, submitted.field());
  active_.emplace(index, std::move(active));
  return ok_status();
}

Status BatchRun::check_openai(BatchLine& line, const GenerateCall& call) const {
  const std::string& asked = line.openai->model;
  if (!asked.empty() && asked != model_name() && !asked.ends_with("/" + model_name())) {
    line.openai_error = {404, fmt::format("The model '{}' does not exist; served: {}", asked, model_name()), "model",
                         "model_not_found"};
    return invalid_input("{}", line.openai_error.message);
  }
  const int64_t context = session_.request_bounds().max_context;
  const int64_t prompt = std::ssize(call.request.prompt), output = call.request.params.max_tokens.value_or(1);
  if (prompt + output <= context) return ok_status();
  line.openai_error = {
      400,
      fmt::format(
          "This model's maximum context length is {} tokens. However, you requested {} tokens ({} in the prompt, "
          "{} in the completion).",
          context, prompt + output, prompt, output),
      line.openai->is_chat ? "messages" : "prompt", "context_length_exceeded"};
  return invalid_input("{}", line.openai_error.message);
}

std::string BatchRun::model_name() const {
  std::error_code error;
  return std::filesystem::canonical(session_.path(), error).filename().string();
}

Status BatchRun::write_finished() {
  for (const size_t index : finished_) {
    const auto active = active_.find(index);
    OCTET_RETURN_IF_ERROR(write_answer(active->second));
    active_.erase(active);
  }
  finished_.clear();
  return ok_status();
}

Status BatchRun::write_openai_answer(const Active& active) {
  const GenerationResult& result = active.generation->result();
  for (const GenerationOutput& output : result.outputs) {
    if (output.status.ok()) continue;
    return write_error(active.line, output.status, {500, output.status.message(), "", "internal_error"});
  }
  const std::string custom_id = nlohmann::json::parse(active.line.id).get<std::string>();
  const std::string asked = active.line.openai->model;
  auto body = openai_body(*active.line.openai, result, asked.empty() ? model_name() : asked,
                          fmt::format("{:016x}", hash_text(custom_id)));
  num_tokens_written_ += result.num_tokens();
  return output_.append(dump_json(openai_answer_line(custom_id, 200, std::move(body))));
}

Status BatchRun::write_answer(const Active& active) {
  if (active.line.openai) return write_openai_answer(active);
  const auto& outputs = active.generation->result().outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (output_.progress().answered.contains({active.line.id, static_cast<int64_t>(i)})) continue;
    if (!outputs[i].status.ok()) {
      OCTET_RETURN_IF_ERROR(write_error(active.line, outputs[i].status, {}));
      continue;
    }
    nlohmann::ordered_json object;
    object["id"] = nlohmann::json::parse(active.line.id);
    if (outputs.size() > 1) object["index"] = i;
    object.update(result_json(active.generation->result(), i));
    OCTET_RETURN_IF_ERROR(output_.append(dump_json(object)));
    num_tokens_written_ += std::ssize(outputs[i].token_ids);
  }
  return ok_status();
}

Status BatchRun::write_error(const BatchLine& line, const Status& status, const OpenAiError& openai) {
  ++num_failed_;
  return output_.append(batch_error_line(line, status, openai));
}

int64_t BatchRun::num_tokens() const {
  int64_t tokens = num_tokens_written_;
  for (const auto& [index, active] : active_) tokens += active.generation->result().num_tokens();
  return tokens;
}

void BatchRun::show_progress(ProgressBar& bar) const {
  if (!bar.enabled()) return;
  const auto done = static_cast<int64_t>(next_ - active_.size());
  bar.update(done, fmt::format(", {:.1f} tokens/s", static_cast<double>(num_tokens()) / seconds()));
}

}  // namespace octet
