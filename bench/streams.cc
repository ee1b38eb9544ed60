#include "bench/streams.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "parallel/shard_plan.h"

namespace octet {

Streams::Streams(int64_t count, int64_t prompt_tokens, int64_t more_tokens, int64_t vocab_size, int dp)
    : count_(count), pages_each_(pages_for(prompt_tokens + more_tokens)), dp_(dp) {
  std::minstd_rand random(1);
  prompts_.resize(static_cast<size_t>(count));
  for (auto& prompt : prompts_) {
    for (int64_t i = 0; i < prompt_tokens; ++i) {
      prompt.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(vocab_size)));
    }
  }
}

int64_t Streams::pages_of_group() const { return near_equal_part(count_, dp_, dp_ - 1).size() * pages_each_; }

template <typename TokensOf>
StepPlan Streams::plan(int64_t first_position, bool wants_logits, const TokensOf& tokens) const {
  StepPlan plan;
  for (int g = 0; g < dp_; ++g) {
    GroupPlan& group = plan.groups.emplace_back();
    const Range streams = near_equal_part(count_, dp_, g);
    for (int64_t s = streams.begin; s < streams.end; ++s) {
      const std::span<const TokenId> fed = tokens(static_cast<size_t>(s));
      group.sequences.push_back({static_cast<int32_t>(group.num_rows()), static_cast<int32_t>(fed.size()),
                                 static_cast<int32_t>(first_position)});
      group.token_ids.insert(group.token_ids.end(), fed.begin(), fed.end());
      std::vector<int32_t>& pages = group.page_tables.emplace_back(static_cast<size_t>(pages_each_));
      std::iota(pages.begin(), pages.end(), static_cast<int32_t>((s - streams.begin) * pages_each_));
      if (wants_logits) group.logit_rows.push_back(static_cast<int32_t>(group.num_rows()) - 1);
    }
  }
  return plan;
}

std::vector<StepPlan> Streams::prefill(int64_t max_rows) const {
  const int64_t most_streams = near_equal_part(count_, dp_, dp_ - 1).size();
  const int64_t chunk = std::max<int64_t>(1, max_rows / most_streams);
  const int64_t total = std::ssize(prompts_[0]);
  std::vector<StepPlan> plans;
  for (int64_t begin = 0; begin < total; begin += chunk) {
    const int64_t size = std::min(chunk, total - begin);
    plans.push_back(plan(begin, begin + size == total, [&](size_t s) {
      return std::span(prompts_[s]).subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
    }));
  }
  return plans;
}

StepPlan Streams::decode(std::span<const TokenId> tokens, int64_t number) const {
  return plan(std::ssize(prompts_[0]) + number, true, [&](size_t s) { return tokens.subspan(s, 1); });
}

}  // namespace octet
