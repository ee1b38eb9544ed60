// DecodeShape: what a decode step looks like to a device that replays captured steps: a padded number of rows and of
// pages, so that few shapes stand for all steps. Pure functions.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <optional>

#include "parallel/row_layout_choice.h"
#include "runtime/model/step_plan.h"

namespace octet {

struct DecodeShape {
  int64_t rows = 0;   // of every dp group
  int64_t pages = 0;  // of a sequence

  auto operator<=>(const DecodeShape&) const = default;
};

// The largest shape that fits a model's buffers.
struct DecodeLimits {
  int64_t rows = 0;
  int64_t pages = 0;
};

// The shape of a step that decodes: one row of each sequence, in order, and all logits wanted. Rows are padded to a
// power of two, pages to a power of two of at least a split of attention, both at most to the limits. None for every
// other step.
std::optional<DecodeShape> decode_shape(const StepPlan& plan, const DecodeLimits& limits);

// The limits of a model's steps.
struct StepLimits {
  int64_t rows = 0;        // of one dp group
  int64_t logit_rows = 0;  // among them
  bool captures = false;   // decode steps of the replicated layout are padded

  int64_t decode_rows() const { return std::min(rows, logit_rows); }
};

// The most rows that steps of each layout can have, padded ones, too.
MostRows most_rows_of_steps(const RowLayoutChooser& chooser, const StepLimits& limits);

// padded = the plan with every group filled up to the shape's rows: by token 0 at position 0 of sequences of one page,
// `scratch_page`, which no other sequence has. `padded` is used again without allocating.
void pad_decode_plan(const StepPlan& plan, const DecodeShape& shape, int32_t scratch_page, StepPlan& padded);

}  // namespace octet
