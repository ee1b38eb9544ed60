#include "kernels/cpu/row_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace octet {
namespace {

constexpr size_t kBlock = 256;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Behind every token.
constexpr TokenLogit kNoLast{std::numeric_limits<TokenId>::max(), kMinusInfinity};

std::span<const float> block_of(std::span<const float> logits, size_t block) {
  return logits.subspan(block * kBlock, std::min(kBlock, logits.size() - block * kBlock));
}

// Conversions from floating point are signed on all instruction sets, and weights are below 2^63.
uint64_t integral(float weight) { return static_cast<uint64_t>(static_cast<int64_t>(weight)); }

}  // namespace

void RowSampler::reserve(size_t vocab) {
  const size_t num_blocks = (vocab + kBlock - 1) / kBlock;
  edited_.reserve(vocab);
  weights_.reserve(vocab);
  block_largest_.reserve(num_blocks);
  block_weight_.reserve(num_blocks);
  bounds_.reserve(num_blocks);
  candidates_.reserve(vocab);
  class_.reserve(vocab);
}

void RowSampler::sample(std::span<const float> logits, const SampleSpec& spec, std::span<const LogitEdit> edits,
                        SampledRow& answer, std::span<TokenLogit> top) {
  answer = {};
  const std::span<const float> edited = edit(logits, edits);
  float largest = scan(edited);
  if (!std::isfinite(largest)) {
    answer.largest = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  if (spec.given >= 0) {
    answer.token_id = spec.given;
  } else {
    answer.token_id = spec.temperature == 0 ? first_of(edited, largest) : draw(edited, spec, largest);
  }
  answer.logit = logits[static_cast<size_t>(answer.token_id)];
  if (spec.num_top < 0) return;
  if (!edits.empty()) largest = scan(logits);
  describe(logits, largest, answer, top.first(static_cast<size_t>(spec.num_top)));
}

std::span<const float> RowSampler::edit(std::span<const float> logits, std::span<const LogitEdit> edits) {
  if (edits.empty()) return logits;
  edited_.assign(logits.begin(), logits.end());
  for (const LogitEdit& edit : edits) {
    float& logit = edited_[static_cast<size_t>(edit.token_id)];
    logit = edited_logit(logit, edit);
  }
  return edited_;
}

float RowSampler::scan(std::span<const float> logits) {
  block_largest_.resize((logits.size() + kBlock - 1) / kBlock);
  for (size_t b = 0; b < block_largest_.size(); ++b) {
    const auto block = block_of(logits, b);
    block_largest_[b] = kernels_.largest(block.data(), std::ssize(block));
  }
  return kernels_.largest(block_largest_.data(), std::ssize(block_largest_));
}

TokenId RowSampler::first_of(std::span<const float> logits, float largest) const {
  const auto block = std::ranges::find(block_largest_, largest) - block_largest_.begin();
  const auto from = logits.begin() + block * static_cast<ptrdiff_t>(kBlock);
  return static_cast<TokenId>(std::find(from, logits.end(), largest) - logits.begin());
}

TokenId RowSampler::draw(std::span<const float> logits, const SampleSpec& spec, float largest) {
  const SoftmaxScale scale{largest, spec.temperature, static_cast<float>(kWeightOne)};
  TokenLogit last = kNoLast;
  if (spec.top_k > 0 && spec.top_k < std::ssize(logits)) last = kth(logits, spec.top_k);
  uint64_t total = weigh(logits, scale, last.logit);
  if (spec.top_k > 0) total = sum_kept(logits, last, 0);
  if (spec.top_p > 0) last = last_to_reach(logits, scale, last, share_of(total, spec.top_p));
  if (spec.top_p > 0 || spec.min_weight > 0) total = sum_kept(logits, last, spec.min_weight);

  const uint64_t target = share_of(total, spec.draw);
  uint64_t sum = 0;
  size_t block = 0;
  while (sum + block_weight_[block] <= target) sum += block_weight_[block++];
  TokenId chosen = -1;
  for_each_kept(logits, block, last, [&](TokenLogit token, uint64_t weight) {
    if (weight < spec.min_weight || chosen >= 0) return;
    sum += weight;
    if (sum > target) chosen = token.token_id;
  });
  return chosen;
}

void RowSampler::describe(std::span<const float> logits, float largest, SampledRow& answer, std::span<TokenLogit> top) {
  answer.largest = largest;
  answer.total = weigh(logits, {largest, 1.0F, static_cast<float>(kWeightOne)}, kMinusInfinity);
  if (top.empty()) return;
  kth(logits, std::ssize(top));
  std::copy_n(candidates_.begin(), top.size(), top.begin());
  std::ranges::sort(top, precedes);
}

// At least k tokens have a logit as large as the k-th largest of the blocks' largest.
TokenLogit RowSampler::kth(std::span<const float> logits, int64_t k) {
  float bound = kMinusInfinity;
  if (k <= std::ssize(block_largest_)) {
    bounds_ = block_largest_;
    std::nth_element(bounds_.begin(), bounds_.begin() + k - 1, bounds_.end(), std::greater<>());
    bound = bounds_[static_cast<size_t>(k - 1)];
  }
  candidates_.clear();
  for (size_t b = 0; b < block_largest_.size(); ++b) {
    if (block_largest_[b] < bound) continue;
    const auto block = block_of(logits, b);
    for (size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= bound) candidates_.push_back({static_cast<TokenId>(b * kBlock + i), block[i]});
    }
  }
  const auto last = candidates_.begin() + k - 1;
  std::nth_element(candidates_.begin(), last, candidates_.end(), precedes);
  return *last;
}

uint64_t RowSampler::weigh(std::span<const float> logits, const SoftmaxScale& scale, float least) {
  weights_.resize(logits.size());
  block_weight_.assign(block_largest_.size(), 0);
  uint64_t total = 0;
  for (size_t b = 0; b < block_largest_.size(); ++b) {
    if (block_largest_[b] < least) continue;
    const auto block = block_of(logits, b);
    block_weight_[b] = kernels_.weigh(block.data(), std::ssize(block), scale, weights_.data() + b * kBlock);
    total += block_weight_[b];
  }
  return total;
}

uint64_t RowSampler::sum_kept(std::span<const float> logits, const TokenLogit& last, uint64_t min_weight) {
  uint64_t total = 0;
  for (size_t b = 0; b < block_largest_.size(); ++b) {
    uint64_t sum = 0;
    for_each_kept(logits, b, last, [&](TokenLogit, uint64_t weight) { sum += weight >= min_weight ? weight : 0; });
    block_weight_[b] = sum;
    total += sum;
  }
  return total;
}

// Finds the class in which the target is reached: rounding leaves the order of distances as it is, so all of a class
// come before all of the next one.
TokenLogit RowSampler::last_to_reach(std::span<const float> logits, const SoftmaxScale& scale, const TokenLogit& last,
                                     uint64_t target) {
  const float steps = std::min(32.0F / scale.temperature, std::numeric_limits<float>::max());
  const auto class_of = [&](float logit) {
    return static_cast<size_t>(std::min((scale.largest - logit) * steps, kNumClasses - 1.0F));
  };
  class_weight_.fill(0);
  for (size_t b = 0; b < block_largest_.size(); ++b) {
    for_each_kept(logits, b, last,
                  [&](TokenLogit token, uint64_t weight) { class_weight_[class_of(token.logit)] += weight; });
  }
  size_t reached = 0;
  uint64_t sum = 0;
  while (sum + class_weight_[reached] < target) sum += class_weight_[reached++];
  class_.clear();
  for (size_t b = 0; b < block_largest_.size(); ++b) {
    if (class_of(block_largest_[b]) > reached) continue;
    for_each_kept(logits, b, last, [&](TokenLogit token, uint64_t weight) {
      if (class_of(token.logit) == reached) class_.push_back({token, weight});
    });
  }
  std::ranges::sort(class_, precedes, &Candidate::token);
  size_t i = 0;
  while (sum + class_[i].weight < target) sum += class_[i++].weight;
  return class_[i].token;
}

template <typename Function>
void RowSampler::for_each_kept(std::span<const float> logits, size_t block, const TokenLogit& last,
                               const Function& function) {
  if (block_largest_[block] < last.logit) return;
  const size_t begin = block * kBlock;
  const size_t end = std::min(begin + kBlock, logits.size());
  for (size_t i = begin; i < end; ++i) {
    const TokenLogit token{static_cast<TokenId>(i), logits[i]};
    if (!precedes(last, token)) function(token, integral(weights_[i]));
  }
}

}  // namespace octet
