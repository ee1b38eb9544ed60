// Random choices of all kinds, for tests that compare a backend's answers with the reference's.
#pragma once

#include <limits>

#include "tests/kernels/kernels_fixture.h"

namespace octet {

struct SamplingCase {
  Tensor logits;  // [rows, vocab]
  SamplingBatch batch;
};

class SamplingCases {
 public:
  explicit SamplingCases(uint32_t seed) : random_(seed) {}

  // Of rows with different shapes of distributions, ties among their logits.
  SamplingCase next(int64_t rows, int64_t vocab, int64_t num_samples) {
    SamplingCase made{random_.tensor({rows, vocab}), {}};
    for (int64_t r = 0; r < rows; ++r)
      shape_row({made.logits.view.as<float>() + r * vocab, static_cast<size_t>(vocab)});
    for (int64_t i = 0; i < num_samples; ++i) add_sample(rows, vocab, made.batch);
    return made;
  }

 private:
  template <typename T>
  T any_of(std::initializer_list<T> values) {
    return values.begin()[random_.below(static_cast<int64_t>(values.size()))];
  }

  void shape_row(std::span<float> row) {
    const float scale = any_of({0.0F, 0.5F, 8.0F, 60.0F});
    const bool coarse = random_.below(3) == 0;
    for (float& logit : row) {
      logit *= scale;
      if (coarse) logit = std::floor(logit);
    }
    if (random_.below(8) == 0) {
      row[static_cast<size_t>(random_.below(std::ssize(row)))] =
          any_of({std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()});
    }
  }

  void add_sample(int64_t rows, int64_t vocab, SamplingBatch& batch) {
    SampleSpec spec{.row = random_.below(rows), .first_edit = static_cast<int32_t>(batch.edits.size())};
    const auto least = static_cast<int32_t>(std::min<int64_t>(vocab, 20));
    spec.num_top = any_of({-1, 0, 1, least});
    if (random_.below(6) == 0) spec.given = random_.below(vocab);
    if (random_.below(2) == 0) add_edits(vocab, batch);
    spec.num_edits = static_cast<int32_t>(batch.edits.size()) - spec.first_edit;
    spec.temperature = any_of({0.0F, 1.0F, 0.7F, 2.0F, std::numeric_limits<float>::min()});
    spec.top_k = any_of({0, 0, 1, 7, 50, 1000, static_cast<int32_t>(vocab)});
    spec.top_p = any_of<uint64_t>({0, 0, 1, 1ULL << 63, 0xf333333333333000ULL, ~0ULL});
    spec.min_weight = any_of<uint64_t>({0, 0, kWeightOne / 50, kWeightOne / 2, kWeightOne});
    for (int i = 0; i < 4; ++i) spec.draw = spec.draw << 16 | static_cast<uint64_t>(random_.below(1 << 16));
    spec.draw = any_of<uint64_t>({spec.draw, spec.draw, spec.draw, 0, ~0ULL});
    batch.samples.push_back(spec);
  }

  // Of distinct tokens.
  void add_edits(int64_t vocab, SamplingBatch& batch) {
    const auto step = 1 + random_.below(std::max<int64_t>(vocab / 3, 1));
    for (int32_t id = random_.below(step); id < vocab; id += step) {
      batch.edits.push_back({id, any_of({0.0F, 3.5F, -2.25F, -std::numeric_limits<float>::infinity()}),
                             any_of({1.0F, 1.3F, 0.9F}), any_of({0.0F, 0.75F, -0.5F})});
    }
  }

  RandomValues random_;
};

// The answers of `num_top` listed tokens at most.
inline void expect_same_answers(const SamplingBatch& batch, SampledRows actual, SampledRows expected) {
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    const SampleSpec& spec = batch.samples[i];
    SCOPED_TRACE(testing::Message() << "sample " << i << ": temperature " << spec.temperature << ", top_k "
                                    << spec.top_k << ", top_p " << spec.top_p << ", min_weight " << spec.min_weight
                                    << ", " << spec.num_edits << " edits, top " << spec.num_top << ", given "
                                    << spec.given);
    ASSERT_EQ(actual[i].token_id, expected[i].token_id);
    EXPECT_EQ(std::isnan(actual[i].largest), std::isnan(expected[i].largest));
    if (expected[i].token_id < 0) continue;
    EXPECT_EQ(actual[i].logit, expected[i].logit);
    EXPECT_EQ(actual[i].largest, expected[i].largest);
    EXPECT_EQ(actual[i].total, expected[i].total);
    for (size_t t = 0; t < static_cast<size_t>(std::max(spec.num_top, 0)); ++t) {
      EXPECT_EQ(actual.top(i)[t].token_id, expected.top(i)[t].token_id);
      EXPECT_EQ(actual.top(i)[t].logit, expected.top(i)[t].logit);
    }
  }
}

}  // namespace octet
