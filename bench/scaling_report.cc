#include "bench/scaling_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "bench/timing.h"

namespace octet {
namespace {

double tokens_per_second(const ScalingLine& line, double seconds) {
  return static_cast<double>(line.workload.tokens()) / seconds;
}

// Steps of one round.
double steps(const Workload& workload) { return workload.is_prefill() ? 1 : static_cast<double>(workload.steps); }

double milliseconds_a_step(const ScalingLine& line, double seconds) {
  return seconds * 1e3 / static_cast<double>(line.seconds.size()) / steps(line.workload);
}

std::string title(const Workload& workload) {
  if (workload.is_prefill()) return fmt::format("prefill of {} tokens", workload.prompt_tokens);
  return fmt::format("decode of {} streams", workload.streams);
}

std::string with_formula(double measured, double expected) {
  return fmt::format("{:.0f} ({:.0f})", measured, expected);
}

std::string line_of_times(const ScalingLine& line) {
  std::string text =
      fmt::format("{:<30} {:<10} {:>9.2f} {:>6.2f} |", line.layout.text(), row_layout_name(line.row_layout),
                  tokens_per_second(line, median(line.seconds)), line.efficiency);
  for (const double seconds : line.cost.seconds) text += fmt::format(" {:>9.2f}", milliseconds_a_step(line, seconds));
  return text + fmt::format(" {:>9.2f}\n", milliseconds_a_step(line, line.cost.waiting));
}

std::string line_of_bytes(const ScalingLine& line, const ModelConfig& config, int64_t element_bytes) {
  const BytesPerToken sent = measured_bytes(line), formula = expected_bytes(line, config, element_bytes);
  return fmt::format(
      "{:<30} {:<10} {:>19} {:>19} {:>19} {:>19}\n", line.layout.text(), row_layout_name(line.row_layout),
      with_formula(sent.attention, formula.attention), with_formula(sent.dispatch, formula.dispatch),
      with_formula(sent.expert_reduce, formula.expert_reduce), with_formula(sent.combine, formula.combine));
}

std::string head_of_times(const Workload& workload) {
  std::string text =
      fmt::format("\n{}\n{:<30} {:<10} {:>9} {:>6} |", title(workload), "ranks x threads", "rows", "tokens/s", "eff.");
  for (size_t i = 0; i < kNumStepPhases; ++i) text += fmt::format(" {:>9}", step_phase_name(static_cast<StepPhase>(i)));
  return text + fmt::format(" {:>9}   ms a step\n", "wait");
}

nlohmann::ordered_json to_json(const BytesPerToken& bytes) {
  return {{"attention", bytes.attention},
          {"dispatch", bytes.dispatch},
          {"expert_reduce", bytes.expert_reduce},
          {"combine", bytes.combine}};
}

nlohmann::ordered_json to_json(const ScalingLine& line, const ModelConfig& config, int64_t element_bytes) {
  const auto [least, most] = std::minmax_element(line.seconds.begin(), line.seconds.end());
  const Topology& t = line.layout.topology;
  nlohmann::ordered_json json = {{"work", line.workload.is_prefill() ? "prefill" : "decode"},
                                 {"streams", line.workload.streams},
                                 {"prompt_tokens", line.workload.prompt_tokens},
                                 {"ranks", t.world},
                                 {"threads", line.layout.threads},
                                 {"tp", t.tp},
                                 {"ep", t.ep},
                                 {"etp", t.etp},
                                 {"row_layout", row_layout_name(line.row_layout)},
                                 {"tokens_per_s", tokens_per_second(line, median(line.seconds))},
                                 {"tokens_per_s_min", tokens_per_second(line, *most)},
                                 {"tokens_per_s_max", tokens_per_second(line, *least)},
                                 {"efficiency", line.efficiency}};
  auto& times = json["ms_a_step"];
  for (size_t i = 0; i < kNumStepPhases; ++i) {
    times[step_phase_name(static_cast<StepPhase>(i))] = milliseconds_a_step(line, line.cost.seconds[i]);
  }
  times["wait"] = milliseconds_a_step(line, line.cost.waiting);
  json["bytes_per_token"] = to_json(measured_bytes(line));
  json["bytes_per_token_formula"] = to_json(expected_bytes(line, config, element_bytes));
  return json;
}

}  // namespace

BytesPerToken measured_bytes(const ScalingLine& line) {
  const double tokens = static_cast<double>(line.workload.tokens()) * static_cast<double>(line.seconds.size());
  const auto of = [&](Phase phase) { return line.cost.bytes[static_cast<size_t>(phase)] / tokens; };
  return {of(Phase::kGather) + of(Phase::kReduce), of(Phase::kDispatch), of(Phase::kExpertReduce), of(Phase::kCombine)};
}

BytesPerToken expected_bytes(const ScalingLine& line, const ModelConfig& config, int64_t element_bytes) {
  const RowLayoutCost cost = row_layout_cost(line.row_layout, line.layout.topology, config.num_experts,
                                             config.experts_per_token, config.hidden_size, element_bytes);
  // The cost model counts rows of a rank's own tp group. Only the rows whose logits are wanted see the last experts.
  const double share = 1.0 / line.layout.topology.dp;
  const double layers = static_cast<double>(config.num_layers);
  const double kept = line.workload.is_prefill() ? 1.0 / static_cast<double>(line.workload.prompt_tokens) : 1.0;
  const double expert_layers = (layers - 1 + kept) * share;
  return {cost.attention_bytes * layers * share, cost.dispatch_bytes * expert_layers,
          cost.expert_reduce_bytes * expert_layers, cost.combine_bytes * expert_layers};
}

std::string scaling_table(const std::vector<ScalingLine>& lines, const ModelConfig& config, int64_t element_bytes) {
  std::string text;
  for (auto first = lines.begin(); first != lines.end();) {
    const auto same_work = [&](const ScalingLine& line) { return line.workload == first->workload; };
    const auto last = std::find_if_not(first, lines.end(), same_work);
    text += head_of_times(first->workload);
    for (auto line = first; line != last; ++line) text += line_of_times(*line);
    text += fmt::format("{:<30} {:<10} {:>19} {:>19} {:>19} {:>19}   bytes a rank sends a token (formula)\n", "", "",
                        "attention", "dispatch", "expert reduce", "combine");
    for (auto line = first; line != last; ++line) {
      if (line->layout.topology.world > 1) text += line_of_bytes(*line, config, element_bytes);
    }
    first = last;
  }
  return text;
}

nlohmann::ordered_json scaling_json(const std::vector<ScalingLine>& lines, const ModelConfig& config,
                                    int64_t element_bytes) {
  auto json = nlohmann::ordered_json::array();
  for (const ScalingLine& line : lines) json.push_back(to_json(line, config, element_bytes));
  return json;
}

}  // namespace octet
