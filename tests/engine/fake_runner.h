// A model without weights for tests of the engine. Its logits are a hash of a sequence's tokens, read back from
// simulated KV pages: a wrong token, position or page table, or a page that was overwritten or never written, changes
// them. It checks every plan against the promises that a real runner relies on.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "kernels/reference/reference_backend.h"
#include "runtime/engine/page_allocator.h"
#include "runtime/model/model_runner.h"

namespace octet {

struct FakeRunnerOptions {
  int64_t max_rows = 64;
  int64_t max_logit_rows = 16;
  int64_t num_pages = 64;
  int64_t num_groups = 1;
  int64_t vocab_size = 40;
  int64_t max_context = 4096;
};

class FakeRunner final : public ModelRunner {
 public:
  explicit FakeRunner(const FakeRunnerOptions& options) : options_(options) {
    pages_.resize(static_cast<size_t>(options.num_groups));
    for (auto& group : pages_) group.resize(static_cast<size_t>(options.num_pages * kPageTokens));
  }

  int64_t max_rows() const override { return options_.max_rows; }
  int64_t max_logit_rows() const override { return options_.max_logit_rows; }
  int64_t num_pages() const override { return options_.num_pages; }
  int64_t num_groups() const override { return options_.num_groups; }
  int64_t vocab_size() const override { return options_.vocab_size; }
  int64_t max_context() const override { return options_.max_context; }

  // Its steps wait for nothing that they need not know yet: choices are planned behind begin().
  Status begin(const StepPlan& plan) override {
    EXPECT_EQ(begun_, nullptr) << "a step begins in another one";
    EXPECT_EQ(plan.sampling.size(), 0);
    if (fails_in == Part::kBegin && std::exchange(lacks_memory, false)) throw std::bad_alloc();
    EXPECT_EQ(plan.step, num_steps_);
    EXPECT_EQ(std::ssize(plan.groups), options_.num_groups);
    if (fails_in == Part::kBegin && fails(plan)) return failed("rank 1 is lost");
    logits_.clear();
    experts_.clear();
    for (size_t group = 0; group < plan.groups.size(); ++group) {
      check(plan.groups[group]);
      compute(plan.groups[group], pages_[group]);
    }
    if (nan_from_step && plan.step >= *nan_from_step) logits_[3] = std::nanf("");
    begun_ = &plan;
    return ok_status();
  }
  Result<StepResult> wait() override {
    const StepPlan& plan = *std::exchange(begun_, nullptr);
    if (std::exchange(lacks_memory, false)) throw std::bad_alloc();
    if (fails(plan)) return failed("rank 1 is lost");
    ++num_steps_;
    return answer(plan);
  }

  // The part of a step that what follows happens in.
  enum class Part { kBegin, kWait } fails_in = Part::kBegin;
  std::optional<uint64_t> fail_from_step;
  bool lacks_memory = false;              // for the next step alone
  std::optional<uint64_t> nan_from_step;  // in the first row of logits, the oldest request's

 private:
  bool fails(const StepPlan& plan) const { return fail_from_step && plan.step >= *fail_from_step; }

  static uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t x = a * 0x9E3779B97F4A7C15U + b + 0x632BE59BD9B4E019U;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
  }

  StepResult answer(const StepPlan& plan) {
    const int64_t vocab_size = options_.vocab_size;
    const TensorView logits{logits_.data(), DType::kF32, {std::ssize(logits_) / vocab_size, vocab_size}};
    const int64_t num_top = plan.sampling.most_top();
    samples_ = Tensor::host(DType::kI8, {plan.sampling.size(), SampledRows::stride(num_top)});
    ReferenceBackend().sample(logits, plan.sampling, samples_.view, stream_);
    return {.logits = plan.wants_logits ? logits : TensorView{nullptr, DType::kF32, {0, vocab_size}},
            .samples = {static_cast<std::byte*>(samples_.view.data), num_top},
            .experts = plan.wants_experts ? std::span<const int32_t>(experts_) : std::span<const int32_t>()};
  }

  void check(const GroupPlan& plan) const {
    EXPECT_LE(plan.num_rows(), options_.max_rows);
    EXPECT_LE(std::ssize(plan.logit_rows), options_.max_logit_rows);
    EXPECT_TRUE(std::is_sorted(plan.logit_rows.begin(), plan.logit_rows.end()));
    EXPECT_EQ(plan.sequences.size(), plan.page_tables.size());
    int32_t next_row = 0;
    std::map<int32_t, int> num_holders;
    for (const auto& table : plan.page_tables) {
      EXPECT_EQ(std::set(table.begin(), table.end()).size(), table.size()) << "a page twice in one table";
      for (const int32_t page : table) ++num_holders[page];
    }
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      const SequenceRows& rows = plan.sequences[i];
      EXPECT_EQ(rows.first_row, next_row);
      EXPECT_GT(rows.num_rows, 0);
      EXPECT_GE(rows.first_position, 0);
      next_row += rows.num_rows;
      const int64_t end = rows.first_position + rows.num_rows;
      EXPECT_LE(end, options_.max_context);
      ASSERT_GE(std::ssize(plan.page_tables[i]), pages_for(end));
      for (int64_t page = rows.first_position / kPageTokens; page < pages_for(end); ++page) {
        EXPECT_EQ(num_holders[plan.page_tables[i][static_cast<size_t>(page)]], 1) << "a shared page is written";
      }
    }
    EXPECT_EQ(next_row, plan.num_rows());
    if (!plan.logit_rows.empty()) {
      EXPECT_LT(plan.logit_rows.back(), plan.num_rows());
    }
  }

  void compute(const GroupPlan& plan, std::vector<uint64_t>& pages) {
    auto next_logit_row = plan.logit_rows.begin();
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      const SequenceRows& rows = plan.sequences[i];
      const auto slot = [&](int64_t position) -> uint64_t& {
        const int32_t page = plan.page_tables[i][static_cast<size_t>(position / kPageTokens)];
        return pages.at(static_cast<size_t>(page * kPageTokens + position % kPageTokens));
      };
      for (int32_t row = 0; row < rows.num_rows; ++row) {
        const int64_t position = rows.first_position + row;
        const TokenId token = plan.token_ids[static_cast<size_t>(rows.first_row + row)];
        slot(position) = mix(static_cast<uint64_t>(token), static_cast<uint64_t>(position));
        if (next_logit_row == plan.logit_rows.end() || *next_logit_row != rows.first_row + row) continue;
        ++next_logit_row;
        uint64_t history = 0;
        for (int64_t earlier = 0; earlier <= position; ++earlier) history = mix(history, slot(earlier));
        for (int64_t id = 0; id < options_.vocab_size; ++id) {
          const uint64_t bits = mix(history, static_cast<uint64_t>(id)) >> 40;  // 24 bits: exact in fp32
          logits_.push_back(static_cast<float>(bits) * 0x1p-24F * 8.0F - 4.0F);
        }
        for (uint64_t k = 0; k < 6; ++k) experts_.push_back(static_cast<int32_t>(mix(history, 1000 + k) % 8));
      }
    }
    EXPECT_EQ(next_logit_row, plan.logit_rows.end());
  }

  FakeRunnerOptions options_;
  std::vector<std::vector<uint64_t>> pages_;  // of each group: [num_pages * kPageTokens]
  std::vector<float> logits_;
  std::vector<int32_t> experts_;  // of the rows of the logits: [rows, 3 layers, top 2]
  Tensor samples_;
  HostStream stream_;
  uint64_t num_steps_ = 0;  // done
  const StepPlan* begun_ = nullptr;
};

}  // namespace octet
