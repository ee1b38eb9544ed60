#include "runtime/model/decode_shape.h"

#include <algorithm>
#include <bit>

#include "kernels/kv_cache.h"

namespace octet {
namespace {

int64_t padded_to_power(int64_t count, int64_t least, int64_t most) {
  const auto power = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(count, least))));
  return std::min(power, most);
}

bool decodes(const GroupPlan& group) {
  if (std::ssize(group.sequences) != group.num_rows() || std::ssize(group.logit_rows) != group.num_rows()) return false;
  return std::ranges::all_of(group.sequences, [](const SequenceRows& rows) { return rows.num_rows == 1; });
}

}  // namespace

std::optional<DecodeShape> decode_shape(const StepPlan& plan, const DecodeLimits& limits) {
  int64_t rows = 0, pages = 0;
  for (const GroupPlan& group : plan.groups) {
    if (!decodes(group)) return std::nullopt;
    rows = std::max(rows, group.num_rows());
    for (const auto& table : group.page_tables) pages = std::max(pages, std::ssize(table));
  }
  if (rows == 0 || rows > limits.rows || pages > limits.pages) return std::nullopt;
  return DecodeShape{padded_to_power(rows, 1, limits.rows),
                     padded_to_power(pages, kSplitTokens / kPageTokens, limits.pages)};
}

MostRows most_rows_of_steps(const RowLayoutChooser& chooser, const StepLimits& limits) {
  MostRows most = chooser.most_rows(limits.rows);
  if (!most.replicated || !limits.captures) return most;
  const int64_t padded = padded_to_power(std::min(*most.replicated, limits.decode_rows()), 1, limits.decode_rows());
  most.replicated = std::max(*most.replicated, padded);
  return most;
}

void pad_decode_plan(const StepPlan& plan, const DecodeShape& shape, int32_t scratch_page, StepPlan& padded) {
  padded.step = plan.step;
  padded.groups.resize(plan.groups.size());
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    GroupPlan& group = padded.groups[g];
    group.token_ids = plan.groups[g].token_ids;
    group.sequences = plan.groups[g].sequences;
    group.logit_rows = plan.groups[g].logit_rows;
    group.page_tables.resize(static_cast<size_t>(shape.rows));
    std::ranges::copy(plan.groups[g].page_tables, group.page_tables.begin());
    for (auto row = static_cast<int32_t>(group.num_rows()); row < shape.rows; ++row) {
      group.token_ids.push_back(0);
      group.sequences.push_back({row, 1, 0});
      group.logit_rows.push_back(row);
      group.page_tables[static_cast<size_t>(row)].assign(1, scratch_page);
    }
  }
}

}  // namespace octet
