#include "bench/generate_bench.h"

#include <algorithm>
#include <random>

#include "runtime/engine/engine.h"

namespace octet {
namespace {

// Streams whose tokens are compared with those that they give alone, and tokens of each.
constexpr int64_t kCheckedStreams = 4;
constexpr int64_t kCheckedTokens = 8;

// Steps in which the prompts of all streams are computed, at most.
int64_t most_prefill_steps(const GenerateBenchOptions& options, int64_t streams) {
  return streams * options.context / options.prefill_chunk + streams + 1;
}

int64_t most_streams(const GenerateBenchOptions& options) {
  return std::max(kCheckedStreams, *std::ranges::max_element(options.streams));
}

class GenerateBench {
 public:
  GenerateBench(const GenerateBenchOptions& options, const BenchedModel& model, const LimitSource& limits,
                int num_threads)
      : options_(options),
        model_(model),
        limits_(limits),
        stopwatch_(options.clock, num_threads),
        random_(options.seed) {}

  Status check() {
    std::vector<std::vector<TokenId>> prompts;
    for (int64_t i = 0; i < most_streams(options_); ++i) prompts.push_back(random_prompt(options_.context));
    OCTET_ASSIGN_OR_RETURN(const auto together, generate(prompts));
    if (!model_.keeps_bits) {
      OCTET_ASSIGN_OR_RETURN(const auto again, generate(prompts));
      return again == together ? ok_status() : failed("the same steps gave other tokens when they were run again");
    }
    for (size_t i = 0; i < static_cast<size_t>(kCheckedStreams); ++i) {
      OCTET_ASSIGN_OR_RETURN(const auto alone, generate({prompts[i]}));
      if (alone[0] != together[i]) return failed("stream {} of {} has other tokens than alone", i, prompts.size());
    }
    return ok_status();
  }

  Result<GenerateReport> run() {
    std::vector<GenerateLine> lines{{"prefill", 1, options_.prompt_tokens,
                                     prefill_cost(model_.config, options_.prompt_tokens, options_.prefill_chunk,
                                                  model_.weight_bytes, model_.kv_bytes)}};
    const double mean_context = static_cast<double>(options_.context) + static_cast<double>(options_.steps) / 2;
    for (const int64_t streams : options_.streams) {
      lines.push_back({"decode", streams, streams,
                       decode_cost(model_.config, streams, mean_context, model_.weight_bytes, model_.kv_bytes)});
    }
    for (int round = 0; round < options_.rounds; ++round) {
      for (GenerateLine& line : lines) {
        if (const std::optional<Limits> limits = limits_()) line.limits.push_back(*limits);
        OCTET_ASSIGN_OR_RETURN(const double seconds,
                               line.what == "prefill" ? time_prefill() : time_decode(line.streams));
        line.seconds.push_back(seconds);
      }
    }
    return GenerateReport(std::move(lines));
  }

 private:
  std::vector<TokenId> random_prompt(int64_t size) {
    // Control tokens and bytes come first in a vocabulary; any token will do for the model.
    std::uniform_int_distribution<TokenId> token(0, static_cast<TokenId>(model_.config.vocab_size - 1));
    std::vector<TokenId> prompt(static_cast<size_t>(size));
    std::ranges::generate(prompt, [&] { return token(random_); });
    return prompt;
  }

  // Greedy, whatever the tokens are.
  static Request request(std::vector<TokenId> prompt, int64_t max_tokens) {
    Request request{.prompt = std::move(prompt)};
    request.params.max_tokens = max_tokens;
    request.params.sampling.temperature = 0;
    return request;
  }

  Result<std::vector<std::vector<TokenId>>> generate(const std::vector<std::vector<TokenId>>& prompts) {
    std::vector<std::vector<TokenId>> outputs(prompts.size());
    Engine engine(model_.runner, {options_.prefill_chunk, std::ssize(prompts)});
    for (size_t i = 0; i < prompts.size(); ++i) {
      RequestCallbacks callbacks;
      callbacks.on_token = [&outputs, i](const TokenEvent& event) {
        outputs[i].push_back(event.token_id);
        return false;
      };
      OCTET_RETURN_IF_ERROR(engine.submit(request(prompts[i], kCheckedTokens), std::move(callbacks)).status());
    }
    for (bool more = true; more;) {
      OCTET_ASSIGN_OR_RETURN(more, step(engine));
    }
    return outputs;
  }

  Result<bool> step(Engine& engine) {
    OCTET_RETURN_IF_ERROR(options_.may_go_on());
    return engine.step();
  }

  // Seconds from the prompt to its first token.
  Result<double> time_prefill() {
    Engine engine(model_.runner, {options_.prefill_chunk, 1});
    OCTET_RETURN_IF_ERROR(engine.submit(request(random_prompt(options_.prompt_tokens), 1), {}).status());
    Status status;
    const double seconds = stopwatch_.time([&] {
      for (bool more = true; more && status.ok();) {
        const auto result = step(engine);
        status = result.status();
        more = status.ok() && *result;
      }
    });
    OCTET_RETURN_IF_ERROR(status);
    return seconds;
  }

  // Seconds of one step in which each stream gets a token.
  Result<double> time_decode(int64_t streams) {
    Engine engine(model_.runner, {options_.prefill_chunk, streams});
    std::vector<int64_t> num_tokens(static_cast<size_t>(streams));
    const int64_t max_tokens = longest_sequence(options_) - options_.context;
    for (int64_t& count : num_tokens) {
      RequestCallbacks callbacks;
      callbacks.on_token = [&count](const TokenEvent&) {
        ++count;
        return false;
      };
      OCTET_RETURN_IF_ERROR(
          engine.submit(request(random_prompt(options_.context), max_tokens), std::move(callbacks)).status());
    }
    while (std::ranges::count(num_tokens, 0) > 0) OCTET_RETURN_IF_ERROR(step(engine).status());
    const std::vector<int64_t> before = num_tokens;
    Status status;
    const double seconds = stopwatch_.time([&] {
      for (int64_t i = 0; i < options_.steps && status.ok(); ++i) status = step(engine).status();
    });
    OCTET_RETURN_IF_ERROR(status);
    for (size_t i = 0; i < before.size(); ++i) {
      if (num_tokens[i] != before[i] + options_.steps) return failed("stream {} did not decode in every step", i);
    }
    return seconds / static_cast<double>(options_.steps);
  }

  const GenerateBenchOptions& options_;
  const BenchedModel& model_;
  const LimitSource& limits_;
  Stopwatch stopwatch_;
  std::mt19937_64 random_;
};

}  // namespace

int64_t longest_sequence(const GenerateBenchOptions& options) {
  const int64_t decoded = most_prefill_steps(options, most_streams(options)) + options.steps + kCheckedTokens;
  return std::max(options.prompt_tokens + 1, options.context + decoded);
}

Result<GenerateReport> run_generate_bench(const GenerateBenchOptions& options, const BenchedModel& model,
                                          const LimitSource& limits, int num_threads) {
  GenerateBench bench(options, model, limits, num_threads);
  OCTET_RETURN_IF_ERROR(bench.check());  // warms up, too
  return bench.run();
}

}  // namespace octet
