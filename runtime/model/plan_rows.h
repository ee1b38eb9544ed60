// PlanRows: a plan's rows as one rank has them.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/step_rows.h"
#include "runtime/model/step_plan.h"

namespace octet {

struct PlanRows {
  RowLayoutKind layout = RowLayoutKind::kReplicated;
  StepRows all;
  StepRows wanted;                   // those whose logits are wanted
  std::vector<int32_t> kept_wanted;  // [wanted.mine]: the same as indexes of the rows that this rank keeps, ascending
  bool is_copy = false;              // another rank keeps the same rows and speaks for them
};

// Makes a rank's PlanRows. One thread at a time.
class RowPlanner {
 public:
  RowPlanner(const Topology& topology, int rank) : topology_(topology), rank_(rank), maker_(topology, rank) {}

  // `rows` is filled anew; it allocates only while it grows.
  void plan(const StepPlan& plan, RowLayoutKind layout, PlanRows& rows);

 private:
  Topology topology_;
  int rank_;
  StepRowsMaker maker_;
  std::vector<GroupRows> groups_;  // [dp], scratch
};

}  // namespace octet
