// Offline batches: a file of requests, one JSON object a line, and a file of answers that a second run completes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/output_file.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/generation_params.h"
#include "runtime/engine/openai_line.h"
#include "runtime/engine/prompt_source.h"

namespace octet {

struct BatchRequest {
  PromptSource input;  // "prompt", "ids" or "messages"
  GenerationParams params;
};

// A line of the input. A bad one has an error, and an id all the same.
struct BatchLine {
  std::string id;  // as JSON text, a string or an integer; the line's number, from 1, unless the line says otherwise
  Result<BatchRequest> request;
  std::optional<OpenAiLine> openai = {};  // of a line in OpenAI's form, which is answered in that form
  OpenAiError openai_error = {};          // of such a line, where it is bad
};

// {"id"?, "prompt" | "ids" | "messages", any name of set_generation_param}, with a prompt "parse_special"?, with
// messages "continue_last"?, both booleans; or a line of OpenAI's batch files (openai_line.h). What it does not set is
// as in `defaults`.
BatchLine parse_batch_line(std::string_view line, int64_t number, const GenerationParams& defaults);

// All lines of a file; blank ones count as lines and are left out. A line whose id was there before is bad.
std::vector<BatchLine> parse_batch(std::string_view text, const GenerationParams& defaults);

// {"id", "error"}, one line without its end.
std::string batch_error_line(const std::string& id, const Status& status);
// The same for a line of either form. openai: what is wrong, where the line is in OpenAI's.
std::string batch_error_line(const BatchLine& line, const Status& status, const OpenAiError& openai);

// What an earlier run has written.
struct BatchProgress {
  std::string kept;                                    // the answers' lines; errors and a torn last line are left out
  std::set<std::pair<std::string, int64_t>> answered;  // id and sample index of each

  // Whether all of a request's samples are there.
  bool complete(const std::string& id, int64_t num_samples) const;
};

// kInvalidInput, naming the line, if the text is not the output of a batch: such a file is not to be overwritten.
Result<BatchProgress> scan_batch_output(std::string_view text);

// Where the answers go. In a file, lines are written whole, one by one, so that an interrupted run loses no more than
// the last one; one process at a time has it. Standard output ("-"), pipes and devices are written to and nothing else.
class BatchOutput {
 public:
  // Goes on with the file at `path`, or begins it; what is not to be kept is removed from it first, all or nothing.
  static Result<BatchOutput> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  // Of the earlier runs.
  const BatchProgress& progress() const { return progress_; }
  // Appends a line (without its end) and hands it to the system. kFailed where it has no room: none of it is there.
  Status append(std::string_view line) { return file_.append(line); }
  // What was appended is on the disk.
  Status sync() { return file_.sync(); }

 private:
  BatchOutput(std::filesystem::path path, BatchProgress progress, GrowingFile file)
      : path_(std::move(path)), progress_(std::move(progress)), file_(std::move(file)) {}

  std::filesystem::path path_;
  BatchProgress progress_;
  GrowingFile file_;
};

}  // namespace octet
