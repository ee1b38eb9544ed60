#include "bench/serve_load.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "runtime/base/json_text.h"

namespace octet {
namespace {

std::vector<TokenId> random_tokens(int64_t size, int64_t vocab_size, std::mt19937_64& random) {
  std::uniform_int_distribution<TokenId> token(0, static_cast<TokenId>(vocab_size - 1));
  std::vector<TokenId> tokens(static_cast<size_t>(size));
  std::ranges::generate(tokens, [&] { return token(random); });
  return tokens;
}

Result<ServeRequest> parse_trace_line(const std::string& line) {
  OCTET_ASSIGN_OR_RETURN(const nlohmann::json json, parse_json_object(line));
  ServeRequest request;
  for (const auto& [key, value] : json.items()) {
    if (key == "arrival_s" && value.is_number() && value.get<double>() >= 0) {
      request.arrival = value;
    } else if (key == "prompt_tokens" && value.is_number_unsigned() && value > 0 && value < (1 << 24)) {
      request.prompt.resize(value.get<size_t>());
    } else if (key == "output_tokens" && value.is_number_unsigned() && value > 0 && value < (1 << 24)) {
      request.output_tokens = value;
    } else if (key == "kind" && value.is_string()) {
      request.kind = value;
    } else {
      return invalid_input("\"{}\": {} is not what a trace has", key, value.dump());
    }
  }
  if (!json.contains("arrival_s")) return invalid_input("\"arrival_s\" is missing");
  if (request.prompt.empty()) return invalid_input("\"prompt_tokens\" is missing");
  if (request.output_tokens == 0) return invalid_input("\"output_tokens\" is missing");
  return request;
}

}  // namespace

std::vector<ServeRequest> draw_load(const ServeLoadOptions& options, double rate, int64_t vocab_size) {
  std::mt19937_64 random(options.seed);
  std::vector<ServeRequest> load(static_cast<size_t>(options.num_requests));
  std::vector<TokenId> prefix;
  double time = 0;
  for (int64_t i = 0; i < options.num_requests; ++i) {
    ServeRequest& request = load[static_cast<size_t>(i)];
    if (rate > 0) request.arrival = time += std::exponential_distribution<double>(rate)(random);
    request.output_tokens = options.output_tokens.draw(random);
    request.prompt = random_tokens(options.prompt_tokens.draw(random), vocab_size, random);
    if (options.same_prefix == 0) continue;
    const bool first = i % options.prefix_uses == 0;
    if (first) prefix = random_tokens(options.same_prefix, vocab_size, random);
    request.kind = first ? "first with its prefix" : "later with its prefix";
    const auto shared = std::min(prefix.size(), request.prompt.size());
    std::copy_n(prefix.begin(), shared, request.prompt.begin());
  }
  return load;
}

Result<std::vector<ServeRequest>> load_of_trace(std::string_view text, double time_scale, uint64_t seed,
                                                int64_t vocab_size) {
  std::mt19937_64 random(seed);
  std::vector<ServeRequest> load;
  std::istringstream lines{std::string(text)};
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto request = parse_trace_line(line);
    if (!request.ok()) return invalid_input("line {}: {}", number, request.status().message());
    request->arrival *= time_scale;
    request->prompt = random_tokens(std::ssize(request->prompt), vocab_size, random);
    load.push_back(*std::move(request));
  }
  if (load.empty()) return invalid_input("has no requests");
  std::ranges::stable_sort(load, {}, &ServeRequest::arrival);
  return load;
}

std::string batch_lines(const std::vector<ServeRequest>& load) {
  std::string lines;
  for (const ServeRequest& request : load) {
    const nlohmann::ordered_json line{
        {"ids", request.prompt}, {"max_tokens", request.output_tokens}, {"temperature", 0}, {"ignore_eos", true}};
    lines += line.dump() + "\n";
  }
  return lines;
}

}  // namespace octet
