// An offline batch under way: the lines of a file through one engine, answers in the order in which they are ready.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launcher/generation.h"
#include "launcher/output.h"
#include "launcher/prompt_builder.h"
#include "runtime/engine/batch_file.h"
#include "runtime/session/session.h"

namespace octet {

// Everything is borrowed and outlives it. Single use.
class BatchRun {
 public:
  // Lines that earlier runs have answered are left out.
  BatchRun(const Session& session, PromptBuilder& prompts, BatchOutput& output, std::vector<BatchLine> lines);

  // Lines still to be answered; with none, there is nothing to load a model for.
  size_t num_left() const { return lines_.size(); }

  // Answers them. A line that cannot be answered gets a line with its error, and kFailed is returned in the end;
  // kInterrupted when a signal came, with every finished answer written.
  Status run(Engine& engine);

 private:
  struct Active {
    BatchLine line;  // without its request
    std::unique_ptr<Generation> generation;
  };

  // Submits lines until `limit` are under way.
  Status fill(Engine& engine, size_t limit);
  // kInvalidInput if the line cannot be asked; then its openai_error says why.
  Status submit(Engine& engine, size_t index);
  // Where the line asks for another model or for more than the context, in OpenAI's words.
  Status check_openai(BatchLine& line, const GenerationInput& input) const;
  Status write_finished();
  Status write_answer(const Active& active);
  Status write_openai_answer(const Active& active);
  Status write_error(const BatchLine& line, const Status& status, const OpenAiError& openai);
  void show_progress(ProgressBar& bar) const;
  int64_t num_tokens() const;
  double seconds() const { return std::chrono::duration<double>(GenerationResult::Clock::now() - start_).count(); }

  std::string model_name() const;

  const Session& session_;
  PromptBuilder& prompts_;
  BatchOutput& output_;
  std::vector<BatchLine> lines_;
  size_t next_ = 0;                  // the first line that is not submitted yet
  std::map<size_t, Active> active_;  // by the line's index; no more than the engine can be kept busy with
  std::vector<size_t> finished_;     // indexes of active ones
  size_t num_failed_ = 0;
  int64_t num_tokens_written_ = 0;
  GenerationResult::Clock::time_point start_;
};

}  // namespace octet
