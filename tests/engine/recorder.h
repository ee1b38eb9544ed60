// Collects what an engine tells the client of one request, for tests.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <vector>

#include "runtime/engine/engine.h"

namespace octet {

struct SampleRecord {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<int32_t>> experts;     // of each token; none where it was told none
  FinishReason announced = FinishReason::kNone;  // with the last token
  FinishReason finish = FinishReason::kNone;
  Status status;
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_preemptions = 0;
  SampleTimes times;
};

struct Recorder {
  std::map<int32_t, SampleRecord> samples;
  std::map<int64_t, std::vector<float>> prompt_logits;
  int num_finished = 0;
  std::function<bool(const TokenEvent&)> on_token;  // asked after the token is recorded

  const std::vector<TokenId>& tokens() { return samples[0].tokens; }
  FinishReason finish() { return samples[0].finish; }

  // The recorder must outlive the request.
  RequestCallbacks callbacks() {
    return {.on_token = [this](const TokenEvent& event) { return record(event); },
            .on_finish = [this](const FinishEvent& event) { record(event); },
            .on_prompt_logits =
                [this](int64_t position, std::span<const float> logits) {
                  EXPECT_FALSE(prompt_logits.contains(position)) << "position " << position << " twice";
                  EXPECT_TRUE(prompt_logits.empty() || prompt_logits.rbegin()->first < position);
                  prompt_logits[position].assign(logits.begin(), logits.end());
                }};
  }

 private:
  bool record(const TokenEvent& event) {
    SampleRecord& sample = samples[event.id.sample];
    EXPECT_EQ(sample.finish, FinishReason::kNone) << "a token after the end";
    EXPECT_EQ(sample.announced, FinishReason::kNone);
    sample.tokens.push_back(event.token_id);
    if (event.logprobs != nullptr) sample.logprobs.push_back(event.logprobs->chosen);
    sample.experts.emplace_back(event.experts.begin(), event.experts.end());
    sample.announced = event.finish;
    return on_token && on_token(event);
  }

  void record(const FinishEvent& event) {
    SampleRecord& sample = samples[event.id.sample];
    EXPECT_EQ(sample.finish, FinishReason::kNone) << "finished twice";
    sample.finish = event.reason;
    sample.status = event.status;
    sample.num_prompt_tokens = event.num_prompt_tokens;
    sample.num_output_tokens = event.num_output_tokens;
    sample.num_cached_tokens = event.num_cached_tokens;
    sample.num_preemptions = event.num_preemptions;
    sample.times = event.times;
    ++num_finished;
  }
};

}  // namespace octet
