// Which steps a device may replay, what they are padded to, and that padding touches no page of a sequence.
#include "runtime/model/decode_shape.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace octet {
namespace {

constexpr DecodeLimits kLimits{48, 100};

// One row of each sequence, at random positions.
GroupPlan decoding_group(int64_t num_rows, int64_t most_pages, std::mt19937& random) {
  GroupPlan group;
  for (int32_t row = 0; row < num_rows; ++row) {
    const auto pages = 1 + random() % static_cast<uint64_t>(most_pages);
    group.token_ids.push_back(static_cast<TokenId>(random() % 1000));
    group.sequences.push_back({row, 1, static_cast<int32_t>(pages * 64 - 1 - random() % 64)});
    group.page_tables.emplace_back(pages);
    for (int32_t& page : group.page_tables.back()) page = static_cast<int32_t>(random() % 500);
    group.logit_rows.push_back(row);
  }
  return group;
}

TEST(DecodeShape, RowsAndPagesArePaddedToPowersWithinTheLimits) {
  std::mt19937 random(3);
  for (int64_t rows = 1; rows <= kLimits.rows; ++rows) {
    StepPlan plan;
    plan.groups = {decoding_group(rows / 2, 3, random), decoding_group(rows, 3, random)};
    const int64_t pages = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(kLimits.pages));
    plan.groups[1].page_tables.back().resize(static_cast<size_t>(pages));
    const auto shape = decode_shape(plan, kLimits);
    ASSERT_TRUE(shape.has_value());
    EXPECT_GE(shape->rows, rows);
    EXPECT_LT(shape->rows, 2 * rows);
    EXPECT_TRUE(shape->rows == kLimits.rows || (shape->rows & (shape->rows - 1)) == 0) << shape->rows;
    EXPECT_GE(shape->pages, std::max<int64_t>(pages, 16));
    EXPECT_TRUE(shape->pages == kLimits.pages || (shape->pages & (shape->pages - 1)) == 0) << shape->pages;
  }
}

TEST(DecodeShape, StepsThatDoMoreThanDecodeHaveNone) {
  std::mt19937 random(4);
  StepPlan prefill;
  prefill.groups = {decoding_group(3, 2, random)};
  prefill.groups[0].sequences[2].num_rows = 2;
  prefill.groups[0].token_ids.push_back(1);
  EXPECT_FALSE(decode_shape(prefill, kLimits).has_value());
  StepPlan without_logits;
  without_logits.groups = {decoding_group(3, 2, random)};
  without_logits.groups[0].logit_rows.pop_back();
  EXPECT_FALSE(decode_shape(without_logits, kLimits).has_value());
  StepPlan empty;
  empty.groups.resize(2);
  EXPECT_FALSE(decode_shape(empty, kLimits).has_value());
  StepPlan large;
  large.groups = {decoding_group(kLimits.rows + 1, 2, random)};
  EXPECT_FALSE(decode_shape(large, kLimits).has_value());
}

TEST(DecodeShape, PaddedRowsWriteToTheScratchPageAlone) {
  std::mt19937 random(5);
  StepPlan padded;  // used again and again
  for (int round = 0; round < 30; ++round) {
    StepPlan plan;
    plan.groups = {decoding_group(static_cast<int64_t>(random() % 9), 4, random),
                   decoding_group(1 + static_cast<int64_t>(random() % 9), 4, random)};
    const auto shape = decode_shape(plan, kLimits);
    ASSERT_TRUE(shape.has_value());
    pad_decode_plan(plan, *shape, 500, padded);
    for (size_t g = 0; g < 2; ++g) {
      const GroupPlan &live = plan.groups[g], &group = padded.groups[g];
      ASSERT_EQ(group.num_rows(), shape->rows);
      ASSERT_EQ(std::ssize(group.page_tables), shape->rows);
      for (int64_t row = 0; row < shape->rows; ++row) {
        const auto r = static_cast<size_t>(row);
        EXPECT_EQ(group.logit_rows[r], row);
        EXPECT_EQ(group.sequences[r].first_row, row);
        if (row < live.num_rows()) {
          EXPECT_EQ(group.token_ids[r], live.token_ids[r]);
          EXPECT_EQ(group.sequences[r].first_position, live.sequences[r].first_position);
          EXPECT_EQ(group.page_tables[r], live.page_tables[r]);
        } else {
          EXPECT_EQ(group.page_tables[r], std::vector<int32_t>{500});
          EXPECT_LT(group.sequences[r].first_position, 64);
        }
      }
    }
    EXPECT_EQ(decode_shape(padded, kLimits), shape);
  }
}

// Buffers that hold the most rows of a layout hold every step that has it, padded or not, and are no larger.
TEST(DecodeShape, TheMostRowsOfStepsCountTheirPadding) {
  std::mt19937 random(9);
  const Topology topology{.world = 2, .tp = 2, .ep = 2};
  const auto chooser = RowLayoutChooser::create(ExchangePolicy::kAuto, topology, 8, 2, 4096, 4);
  ASSERT_TRUE(chooser.ok() && chooser->threshold());
  const int64_t threshold = *chooser->threshold();
  ASSERT_GT(threshold, 4);
  for (const int64_t rows : {int64_t{3}, threshold - 1, threshold, threshold + 5, 3 * threshold}) {
    for (const int64_t logit_rows : {int64_t{1}, threshold / 2, threshold - 1, threshold, rows}) {
      for (const bool captures : {false, true}) {
        const StepLimits limits{rows, std::min(logit_rows, rows), captures};
        int64_t most = 0;
        for (int64_t n = 1; n <= rows && chooser->choose(n) == RowLayoutKind::kReplicated; ++n) {
          StepPlan plan;
          plan.groups = {decoding_group(n, 1, random)};
          const auto shape = captures ? decode_shape(plan, {limits.decode_rows(), 100}) : std::nullopt;
          most = std::max(most, shape ? shape->rows : n);
        }
        EXPECT_EQ(most_rows_of_steps(*chooser, limits).replicated, most)
            << rows << " " << logit_rows << " " << captures;
      }
    }
  }
}

}  // namespace
}  // namespace octet
