// octet perplexity: how well the model predicts a text.
#include "runtime/model/perplexity.h"
#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/open_session.h"
#include "launcher/output.h"
#include "launcher/text_input.h"
#include "runtime/base/log.h"

namespace octet {
namespace {

constexpr int64_t kDefaultContext = 512;
// Windows under way: enough that a step is always full.
constexpr int64_t kMaxWindows = 4;

// Scores windows with an engine, each token's negative log-likelihood by window and position.
class Scorer {
 public:
  Scorer(std::span<const TokenId> stream, std::span<const PerplexityWindow> windows, TokenId bos_id)
      : stream_(stream), windows_(windows), bos_id_(bos_id), nlls_(windows.size()) {}

  Status run(Engine& engine) {
    ProgressBar bar("scoring", std::ssize(stream_), fmt::format("{} tokens", stream_.size()));
    for (size_t next = 0; next < windows_.size() || num_running_ > 0;) {
      OCTET_RETURN_IF_ERROR(check_interrupted());
      while (next < windows_.size() && num_running_ < kMaxWindows) OCTET_RETURN_IF_ERROR(submit(engine, next++));
      OCTET_RETURN_IF_ERROR(engine.step().status());
      bar.update(num_scored_);
    }
    return ok_status();
  }

  // In the order of the text, whatever the order in which steps computed it: the sums' bits depend on it.
  PerplexityTable table() const {
    PerplexityTable table;
    for (size_t w = 0; w < windows_.size(); ++w) {
      int64_t position = windows_[w].first_scored_position;
      for (const double nll : nlls_[w]) table.add(position++, nll);
    }
    return table;
  }

 private:
  Status submit(Engine& engine, size_t index) {
    const PerplexityWindow& window = windows_[index];
    Request request;
    request.prompt = window_ids(stream_, window, bos_id_);
    request.params.max_tokens = 0;
    request.params.sampling.temperature = 0;  // nothing is drawn
    for (int64_t p = window.first_scored_position; p <= window.num_tokens; ++p) {
      request.prompt_logit_positions.push_back(p - 1);
    }
    RequestCallbacks callbacks;
    callbacks.on_prompt_logits = [this, index](int64_t position, std::span<const float> logits) {
      const TokenId target = stream_[static_cast<size_t>(windows_[index].first_token + position)];
      nlls_[index].push_back(negative_log_likelihood(logits, target));
      ++num_scored_;
    };
    callbacks.on_finish = [this](const FinishEvent&) { --num_running_; };
    ++num_running_;
    return engine.submit(std::move(request), std::move(callbacks)).status();
  }

  std::span<const TokenId> stream_;
  std::span<const PerplexityWindow> windows_;
  TokenId bos_id_;
  std::vector<std::vector<double>> nlls_;  // of each window
  int64_t num_running_ = 0;
  int64_t num_scored_ = 0;
};

class PerplexityCommand final : public Command {
 public:
  const char* name() const override { return "perplexity"; }
  const char* summary() const override { return "How well the model predicts a text, by position"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet perplexity book.txt\n"
           "  octet perplexity book.txt --context 4096 --stride 2048 --json\n"
           "The text's tokens are read in windows of BOS and context - 1 tokens, one every stride tokens; a token is\n"
           "scored in the first window that has it.";
  }

  void declare(CLI::App& app) override {
    app.add_option("FILE", file_, "the text; - reads standard input")->required();
    app.add_option("--context", context_, "tokens of a window, BOS included (default: 512, or the model's if less)")
        ->check(CLI::Range(2, 1 << 24))
        ->type_name("N");
    app.add_option("--stride", stride_, "tokens from one window to the next (default: context - 1, no overlap)")
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("N");
    app.add_flag("--json", json_, "print one JSON object");
    declare_model_flags(app, model_);
  }

  Status run() override {
    catch_interrupts();
    OCTET_ASSIGN_OR_RETURN(const auto session, open_session(model_, {.all_logits = true}));
    if (!session->leads()) return session->follow();
    OCTET_ASSIGN_OR_RETURN(const std::string text, read_input_file(file_));
    OCTET_RETURN_IF_ERROR(check_utf8(text, file_));
    OCTET_ASSIGN_OR_RETURN(const Tokenizer* tokenizer, session->require_tokenizer());
    const int64_t max_context = session->request_bounds().max_context;
    if (context_ > max_context) return invalid_input("--context {}: the model has room for {}", context_, max_context);
    const int64_t context = context_ > 0 ? context_ : std::min(kDefaultContext, max_context);
    const std::vector<TokenId> stream = tokenizer->encode_prompt(text, false);
    const auto windows = perplexity_windows(std::ssize(stream), context, stride_ > 0 ? stride_ : context - 1);
    if (!windows.ok()) return invalid_input("{}: {}", file_, windows.status().message());
    OCTET_RETURN_IF_ERROR(session->load());
    Engine engine(session->runner(), session->engine_options());
    Scorer scorer(stream, *windows, session->special_tokens().begin);
    OCTET_RETURN_IF_ERROR(scorer.run(engine));
    return json_ ? print_line(scorer.table().to_json()) : print(scorer.table().to_text());
  }

 private:
  std::string file_;
  int64_t context_ = 0;
  int64_t stride_ = 0;
  bool json_ = false;
  ModelFlags model_;
};

}  // namespace

std::unique_ptr<Command> make_perplexity_command() { return std::make_unique<PerplexityCommand>(); }

}  // namespace octet
