#include "runtime/model/plan_rows.h"

namespace octet {

void RowPlanner::plan(const StepPlan& plan, RowLayoutKind layout, PlanRows& rows) {
  groups_.clear();
  for (const GroupPlan& group : plan.groups) groups_.push_back({group.num_rows(), group.logit_rows});
  rows.layout = layout;
  rows.is_copy = layout == RowLayoutKind::kReplicated && topology_.tp_index(rank_) != 0;
  maker_.make_all(layout, groups_, rows.all);
  maker_.make_wanted(layout, groups_, rows.wanted);
  const auto wanted = groups_[static_cast<size_t>(topology_.dp_index(rank_))].wanted.begin();
  rows.kept_wanted.assign(wanted + rows.wanted.mine.begin, wanted + rows.wanted.mine.end);
  for (int32_t& row : rows.kept_wanted) row -= static_cast<int32_t>(rows.all.mine.begin);
}

}  // namespace octet
