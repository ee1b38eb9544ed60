// octet bench serve: a service under load.
#include "bench/serve_report.h"
#include "launcher/client_flags.h"
#include "launcher/commands/commands.h"
#include "launcher/interrupt.h"
#include "launcher/output.h"
#include "launcher/text_input.h"
#include "runtime/base/output_file.h"

namespace octet {
namespace {

class BenchServeCommand final : public Command {
 public:
  const char* name() const override { return "bench serve"; }
  const char* summary() const override { return "How a service does under load"; }
  const char* examples() const override {
    return "Examples:\n"
           "  octet bench serve --server localhost:50051 --concurrency 1,8,32\n"
           "  octet bench serve --server localhost:50051 --rate 0.5,1,2 --prompt-tokens lognormal:200,0.8 \\\n"
           "      --output-tokens uniform:16-256 --ttft-limit 2 --tpot-limit 0.2 --json\n"
           "  octet bench serve --server localhost:50051 --trace requests.jsonl\n"
           "      a line is {\"arrival_s\": 0.5, \"prompt_tokens\": 100, \"output_tokens\": 20, \"kind\"?: \"short\"}\n"
           "Prompts are random tokens. bench/README.md defines every figure.";
  }

  void declare(CLI::App& app) override {
    declare_connection_flags(app, client_);
    app.get_option("--server")->required();
    declare_loads(app);
    declare_requests(app);
    const auto limit = [&app](const char* flag, std::optional<double>& value, const char* help) {
      app.add_option(flag, value, help)->check(CLI::PositiveNumber)->type_name("SECONDS");
    };
    limit("--ttft-limit", limits_.time_to_first_token, "a good request has its first token after so long at most");
    limit("--tpot-limit", limits_.time_per_output_token, "and takes so long for each further one at most");
    app.add_option("--write-requests", requests_file_, "write the first load's requests for octet generate --input")
        ->type_name("FILE");
    app.add_flag("--json", json_, "print one JSON object");
  }

  Status run() override {
    catch_interrupts();
    OCTET_ASSIGN_OR_RETURN(options_.prompt_tokens, parse_length("--prompt-tokens", prompt_tokens_));
    OCTET_ASSIGN_OR_RETURN(options_.output_tokens, parse_length("--output-tokens", output_tokens_));
    OCTET_ASSIGN_OR_RETURN(const auto client, ServiceClient::create(client_));
    OCTET_RETURN_IF_ERROR(client->get_model_info("", model_).status);
    OCTET_RETURN_IF_ERROR(plan());
    if (!requests_file_.empty()) {
      OCTET_RETURN_IF_ERROR(write_whole_file(requests_file_, batch_lines(loads_.front().requests)));
    }
    ServeBench bench(*client, check_interrupted);
    OCTET_RETURN_IF_ERROR(bench.check(model_.vocab_size, model_.max_context, options_.seed));
    std::vector<ServeRun> runs;
    for (const Load& load : loads_) {
      OCTET_ASSIGN_OR_RETURN(ServeRun run, bench.run(load.requests, load.concurrency));
      run.rate = load.rate;
      runs.push_back(std::move(run));
    }
    OCTET_RETURN_IF_ERROR(report(runs));
    return check_ends(runs);
  }

 private:
  struct Load {
    double rate = 0;
    int64_t concurrency = 0;
    std::vector<ServeRequest> requests;
  };

  void declare_loads(CLI::App& app) {
    CLI::Option* rate = app.add_option("--rate", rates_, "open loop: so many requests arrive a second (Poisson)");
    rate->delimiter(',')->check(CLI::PositiveNumber)->type_name("X,X,…");
    CLI::Option* concurrency =
        app.add_option("--concurrency", concurrencies_, "closed loop: so many requests at a time (default: 1)");
    concurrency->delimiter(',')->check(CLI::Range(1, 65536))->type_name("N,N,…");
    CLI::Option* trace = app.add_option("--trace", trace_file_, "open loop: requests as this file says");
    trace->type_name("FILE");
    rate->excludes(concurrency)->excludes(trace);
    concurrency->excludes(trace);
    app.add_option("--time-scale", time_scale_, "multiplies the trace's arrivals")
        ->check(CLI::PositiveNumber)
        ->capture_default_str()
        ->needs(trace);
  }

  void declare_requests(CLI::App& app) {
    const auto count = [&app](const char* flag, int64_t& value, int64_t least, const char* help) {
      app.add_option(flag, value, help)->check(CLI::Range(least, int64_t{1} << 24))->type_name("N");
    };
    count("--num-requests", options_.num_requests, 1, "of each load (default: 64)");
    const char* kLengths = "N, uniform:LEAST-MOST or lognormal:MEDIAN,SIGMA[,MOST]";
    app.add_option("--prompt-tokens", prompt_tokens_, kLengths)->capture_default_str()->type_name("LENGTH");
    app.add_option("--output-tokens", output_tokens_, kLengths)->capture_default_str()->type_name("LENGTH");
    count("--same-prefix", options_.same_prefix, 0, "so many tokens are the same in a few prompts in a row");
    count("--prefix-uses", options_.prefix_uses, 1, "so many prompts in a row (default: 2)");
    app.add_option("--seed", options_.seed, "of prompts, lengths and arrivals")->capture_default_str()->type_name("N");
  }

  static Result<LengthDistribution> parse_length(const char* flag, const std::string& text) {
    auto length = LengthDistribution::parse(text);
    if (!length.ok()) return invalid_input("{}: {}", flag, length.status().message());
    return length;
  }

  Status plan() {
    if (!trace_file_.empty()) {
      OCTET_ASSIGN_OR_RETURN(const std::string text, read_input_file(trace_file_));
      auto requests = load_of_trace(text, time_scale_, options_.seed, model_.vocab_size);
      if (!requests.ok()) return invalid_input("{}: {}", trace_file_, requests.status().message());
      loads_.push_back({0, 0, *std::move(requests)});
    } else if (rates_.empty()) {
      if (concurrencies_.empty()) concurrencies_ = {1};
      for (const int64_t concurrency : concurrencies_) loads_.push_back({0, concurrency, next_requests(0)});
    } else {
      for (const double rate : rates_) loads_.push_back({rate, 0, next_requests(rate)});
    }
    for (const Load& load : loads_) {
      for (const ServeRequest& request : load.requests) {
        const int64_t tokens = std::ssize(request.prompt) + request.output_tokens;
        if (tokens > model_.max_context) {
          return invalid_input("a prompt of {} tokens and {} of output are longer than {}'s context of {}",
                               request.prompt.size(), request.output_tokens, client_.server, model_.max_context);
        }
      }
    }
    return ok_status();
  }

  // Every load has prompts of its own, lest it find them in a cache.
  std::vector<ServeRequest> next_requests(double rate) {
    ServeLoadOptions options = options_;
    options.seed += loads_.size();
    return draw_load(options, rate, model_.vocab_size);
  }

  Status report(const std::vector<ServeRun>& runs) const {
    if (!json_) return print(serve_table(runs, limits_));
    nlohmann::ordered_json json{{"benchmark", "serve"}, {"server", client_.server}, {"model", model_.name}};
    if (limits_.time_to_first_token) json["ttft_limit_ms"] = 1e3 * *limits_.time_to_first_token;
    if (limits_.time_per_output_token) json["tpot_limit_ms"] = 1e3 * *limits_.time_per_output_token;
    json["results"] = serve_json(runs, limits_);
    return print_line(dump_json(json));
  }

  // A full queue is an answer of its own; other errors are not what was to be measured.
  static Status check_ends(const std::vector<ServeRun>& runs) {
    for (const ServeRun& run : runs) {
      for (const ServeRecord& record : run.records) {
        if (!record.end.ok() && record.end.code != RpcCode::kResourceExhausted) return record.end.status;
      }
    }
    return ok_status();
  }

  ClientOptions client_;
  ServeLoadOptions options_;
  std::string prompt_tokens_ = "128", output_tokens_ = "128";
  std::vector<double> rates_;
  std::vector<int64_t> concurrencies_;
  std::string trace_file_;
  double time_scale_ = 1;
  ServeLimits limits_;
  std::string requests_file_;
  bool json_ = false;
  ServedModelInfo model_;
  std::vector<Load> loads_;
};

}  // namespace

std::unique_ptr<Command> make_bench_serve_command() { return std::make_unique<BenchServeCommand>(); }

}  // namespace octet
