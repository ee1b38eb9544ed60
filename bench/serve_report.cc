#include "bench/serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>

namespace octet {
namespace {

// Requests that were answered, all or those of one kind.
using Answered = std::vector<const ServeRecord*>;

struct Totals {
  int64_t answered = 0, refused = 0, failed = 0, good = 0;
  int64_t output_tokens = 0, prompt_tokens = 0;
};

bool is_good(const ServeRecord& record, const ServeLimits& limits) {
  if (limits.time_to_first_token && record.time_to_first_token() > *limits.time_to_first_token) return false;
  if (!limits.time_per_output_token || record.output_tokens < 2) return true;
  return record.time_per_output_token() <= *limits.time_per_output_token;
}

Totals totals_of(const ServeRun& run, const ServeLimits& limits) {
  Totals totals;
  for (const ServeRecord& record : run.records) {
    totals.output_tokens += record.output_tokens;
    if (record.end.ok()) {
      ++totals.answered;
      totals.prompt_tokens += record.prompt_tokens;
      if (is_good(record, limits)) ++totals.good;
    } else if (record.end.code == RpcCode::kResourceExhausted) {
      ++totals.refused;
    } else {
      ++totals.failed;
    }
  }
  return totals;
}

std::string name_of(const ServeRun& run) {
  if (run.concurrency > 0) return fmt::format("{} at a time", run.concurrency);
  return run.rate > 0 ? fmt::format("{:g} requests/s", run.rate) : "trace";
}

// "all", then each kind in the order of its first request.
std::vector<std::pair<std::string, Answered>> kinds_of(const ServeRun& run) {
  std::vector<std::pair<std::string, Answered>> kinds{{"all", {}}};
  for (const ServeRecord& record : run.records) {
    if (!record.end.ok()) continue;
    kinds.front().second.push_back(&record);
    if (record.kind.empty()) continue;
    auto kind = std::ranges::find(kinds, record.kind, [](const auto& entry) { return entry.first; });
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), {record.kind, {}});
    kind->second.push_back(&record);
  }
  return kinds;
}

// Of each figure its values in milliseconds; without any, it is left out.
std::vector<std::pair<std::string, std::vector<double>>> figures_of(const Answered& records) {
  std::vector<double> ttft, tpot, itl, e2e;
  for (const ServeRecord* record : records) {
    ttft.push_back(1e3 * record->time_to_first_token());
    if (record->output_tokens > 1) tpot.push_back(1e3 * record->time_per_output_token());
    for (const double gap : record->gaps) itl.push_back(1e3 * gap);
    e2e.push_back(1e3 * record->end_to_end());
  }
  std::vector<std::pair<std::string, std::vector<double>>> figures{
      {"ttft", std::move(ttft)}, {"tpot", std::move(tpot)}, {"itl", std::move(itl)}, {"e2e", std::move(e2e)}};
  std::erase_if(figures, [](const auto& figure) { return figure.second.empty(); });
  return figures;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

// Shares of the time of steps, in percent.
std::string steps_of(const StepSeconds& steps) {
  if (steps.total() <= 0) return "";
  const auto percent = [&](double seconds) { return 100 * seconds / steps.total(); };
  return fmt::format(
      "  steps took {:.2f} s: model {:.2f} %, schedule {:.2f} %, sample {:.2f} %, deliver {:.2f} %, service {:.2f} %\n",
      steps.total(), percent(steps.model), percent(steps.schedule), percent(steps.sample), percent(steps.deliver),
      percent(steps.service));
}

std::string table_of(const ServeRun& run, const ServeLimits& limits) {
  const Totals totals = totals_of(run, limits);
  std::string text = fmt::format("{}: {} answered, {} refused, {} failed in {:.1f} s\n", name_of(run), totals.answered,
                                 totals.refused, totals.failed, run.seconds);
  if (totals.answered == 0) return text;
  const auto per_second = [&](int64_t count) { return static_cast<double>(count) / run.seconds; };
  text += fmt::format("  {:.2f} requests/s, {:.1f} output tokens/s, {:.1f} tokens/s with prompts",
                      per_second(totals.answered), per_second(totals.output_tokens),
                      per_second(totals.output_tokens + totals.prompt_tokens));
  if (limits.time_to_first_token || limits.time_per_output_token) {
    text += fmt::format("; goodput {:.2f} requests/s ({:.0f} %)", per_second(totals.good),
                        100.0 * static_cast<double>(totals.good) / static_cast<double>(totals.answered));
  }
  text += "\n" + steps_of(run.steps);
  text += fmt::format("  {:<24} {:>8} {:<5} {:>10} {:>10} {:>10} {:>10} {:>10}   ms\n", "kind", "requests", "", "mean",
                      "p50", "p90", "p99", "max");
  for (const auto& [kind, records] : kinds_of(run)) {
    for (const auto& [name, values] : figures_of(records)) {
      text += fmt::format("  {:<24} {:>8} {:<5} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f}\n", kind,
                          records.size(), upper(name), mean(values), percentile(values, 0.5), percentile(values, 0.9),
                          percentile(values, 0.99), *std::ranges::max_element(values));
    }
  }
  return text;
}

nlohmann::ordered_json to_json(const ServeRecord& record) {
  nlohmann::ordered_json json{{"kind", record.kind},
                              {"arrival_s", record.arrival},
                              {"prompt_tokens", record.prompt_tokens},
                              {"cached_tokens", record.cached_tokens},
                              {"output_tokens", record.output_tokens},
                              {"code", rpc_code_name(record.end.code)}};
  if (!record.end.ok()) return json;
  json["ttft_ms"] = 1e3 * record.time_to_first_token();
  if (record.output_tokens > 1) json["tpot_ms"] = 1e3 * record.time_per_output_token();
  json["e2e_ms"] = 1e3 * record.end_to_end();
  return json;
}

nlohmann::ordered_json to_json(const ServeRun& run, const ServeLimits& limits) {
  const Totals totals = totals_of(run, limits);
  const auto per_second = [&](int64_t count) {
    return run.seconds > 0 ? static_cast<double>(count) / run.seconds : 0.0;
  };
  nlohmann::ordered_json json{
      {"load", name_of(run)},
      {"rate", run.rate},
      {"concurrency", run.concurrency},
      {"seconds", run.seconds},
      {"answered", totals.answered},
      {"refused", totals.refused},
      {"failed", totals.failed},
      {"good", totals.good},
      {"requests_per_s", per_second(totals.answered)},
      {"goodput_requests_per_s", per_second(totals.good)},
      {"output_tokens_per_s", per_second(totals.output_tokens)},
      {"tokens_per_s", per_second(totals.output_tokens + totals.prompt_tokens)},
      {"step_seconds",
       {{"schedule", run.steps.schedule},
        {"model", run.steps.model},
        {"sample", run.steps.sample},
        {"deliver", run.steps.deliver},
        {"service", run.steps.service}}},
      {"kinds", nlohmann::ordered_json::array()},
      {"requests", nlohmann::ordered_json::array()},
  };
  for (const auto& [kind, records] : kinds_of(run)) {
    nlohmann::ordered_json entry{{"kind", kind}, {"requests", records.size()}};
    for (const auto& [name, values] : figures_of(records)) {
      entry[name + "_ms"] = {{"mean", mean(values)},
                             {"p50", percentile(values, 0.5)},
                             {"p90", percentile(values, 0.9)},
                             {"p99", percentile(values, 0.99)},
                             {"max", *std::ranges::max_element(values)}};
    }
    json["kinds"].push_back(std::move(entry));
  }
  for (const ServeRecord& record : run.records) json["requests"].push_back(to_json(record));
  return json;
}

}  // namespace

double percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const double rank = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(std::floor(rank)), above = static_cast<size_t>(std::ceil(rank));
  return values[below] + (rank - std::floor(rank)) * (values[above] - values[below]);
}

std::string serve_table(const std::vector<ServeRun>& runs, const ServeLimits& limits) {
  std::string text;
  for (const ServeRun& run : runs) text += table_of(run, limits);
  return text;
}

nlohmann::ordered_json serve_json(const std::vector<ServeRun>& runs, const ServeLimits& limits) {
  auto json = nlohmann::ordered_json::array();
  for (const ServeRun& run : runs) json.push_back(to_json(run, limits));
  return json;
}

}  // namespace octet
