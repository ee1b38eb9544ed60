#include "runtime/model/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "runtime/model/counter_rng.h"

namespace octet {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Elements that a sum takes together before it is added to the sums of earlier blocks.
constexpr size_t kSumBlock = 1024;

// The largest element; kFailed unless there is a finite one and none is NaN or +infinity.
Result<float> largest_logit(std::span<const float> logits) {
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> lanes;
  lanes.fill(kMinusInfinity);
  bool has_nan = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    float& lane = lanes[i % kLanes];
    lane = logits[i] > lane ? logits[i] : lane;
    has_nan |= std::isnan(logits[i]);
  }
  const float largest = *std::max_element(lanes.begin(), lanes.end());
  if (has_nan || !std::isfinite(largest)) return failed("no token can be chosen: the logits are not finite");
  return largest;
}

// The lowest index of a value that is present.
TokenId first_index(std::span<const float> values, float value) {
  return static_cast<TokenId>(std::find(values.begin(), values.end(), value) - values.begin());
}

// Sum of value(i), i in [0, count), in fp64: chains of kSumBlock, added in order.
template <typename Value>
double blocked_sum(size_t count, Value value) {
  double sum = 0.0;
  for (size_t begin = 0; begin < count; begin += kSumBlock) {
    double block = 0.0;
    for (size_t i = begin; i < std::min(begin + kSumBlock, count); ++i) block += value(i);
    sum += block;
  }
  return sum;
}

}  // namespace

Sampler::Sampler(int64_t vocab_size) : processor_(vocab_size), processed_(static_cast<size_t>(vocab_size)) {
  candidates_.reserve(static_cast<size_t>(vocab_size));
}

Result<TokenId> Sampler::sample(const SamplingInput& input) {
  const std::span<const float> logits = process(input);
  if (input.params.greedy()) {
    OCTET_ASSIGN_OR_RETURN(const float largest, largest_logit(logits));
    return first_index(logits, largest);
  }
  OCTET_RETURN_IF_ERROR(truncate(input.params, logits));
  OCTET_CHECK(input.params.seed.has_value());
  const int64_t output_index = static_cast<int64_t>(input.tokens.size()) - input.prompt_size;
  const double target = uniform_draw(*input.params.seed, input.sample_index, output_index) * total_weight();
  double cumulative = 0.0;
  TokenId chosen = candidates_.front().id;
  for (const Candidate& candidate : candidates_) {
    if (candidate.weight == 0.0F) continue;
    chosen = candidate.id;  // the last one stays chosen where rounding leaves the sum below the target
    cumulative += candidate.weight;
    if (cumulative > target) break;
  }
  return chosen;
}

Result<std::vector<double>> Sampler::probabilities(const SamplingInput& input) {
  const std::span<const float> logits = process(input);
  std::vector<double> result(logits.size());
  if (input.params.greedy()) {
    OCTET_ASSIGN_OR_RETURN(const float largest, largest_logit(logits));
    result[static_cast<size_t>(first_index(logits, largest))] = 1.0;
    return result;
  }
  OCTET_RETURN_IF_ERROR(truncate(input.params, logits));
  const double total = total_weight();
  for (const Candidate& candidate : candidates_) result[static_cast<size_t>(candidate.id)] = candidate.weight / total;
  return result;
}

void Sampler::logprobs(std::span<const float> logits, TokenId chosen, int64_t num_top, Logprobs& out) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  const double sum =
      blocked_sum(logits.size(), [&](size_t i) { return std::exp(logits[i] - static_cast<float>(largest)); });
  const double log_total = largest + std::log(sum);
  out.chosen = static_cast<float>(logits[static_cast<size_t>(chosen)] - log_total);
  out.top.clear();
  if (num_top == 0) return;
  collect(logits);
  keep_top_k(num_top);
  for (const Candidate& candidate : candidates_) {
    out.top.push_back({candidate.id, static_cast<float>(candidate.logit - log_total)});
  }
}

std::span<const float> Sampler::process(const SamplingInput& input) {
  OCTET_CHECK(input.logits.size() == processed_.size(), "{} logits", input.logits.size());
  if (!input.params.changes_logits() && input.banned.empty()) return input.logits;
  std::copy(input.logits.begin(), input.logits.end(), processed_.begin());
  processor_.apply(input.params, input.tokens, input.prompt_size, processed_);
  for (const TokenId id : input.banned) processed_[static_cast<size_t>(id)] = kMinusInfinity;
  return processed_;
}

Status Sampler::truncate(const SamplingParams& params, std::span<const float> logits) {
  OCTET_ASSIGN_OR_RETURN(const float largest, largest_logit(logits));
  collect(logits);
  if (params.top_k > 0 && params.top_k < std::ssize(logits)) keep_top_k(params.top_k);
  weigh(params.temperature, largest);
  if (params.top_p < 1.0) keep_top_p(params.top_p);
  if (params.min_p > 0.0) keep_min_p(params.min_p);
  return ok_status();
}

void Sampler::collect(std::span<const float> logits) {
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates_[i] = {logits[i], 0.0F, static_cast<TokenId>(i)};
}

// Leaves the candidates sorted. REQUIRES: at least top_k candidates.
void Sampler::keep_top_k(int64_t top_k) {
  std::partial_sort(candidates_.begin(), candidates_.begin() + top_k, candidates_.end(), precedes);
  candidates_.resize(static_cast<size_t>(top_k));
}

// Differences to the largest logit first, so that no temperature overflows.
void Sampler::weigh(double temperature, float largest) {
  const auto divisor = static_cast<float>(temperature);
  for (Candidate& candidate : candidates_) {
    const float difference = candidate.logit - largest;
    candidate.weight = difference == 0.0F ? 1.0F : std::exp(difference / divisor);
  }
}

// Finds the last one to keep as quickselect finds a rank, but by sums of weights: what lies on the far side of a pivot
// is kept, or dropped, as a whole. [begin, end) is in question; its median of three is neither its first nor its last.
void Sampler::keep_top_p(double top_p) {
  constexpr ptrdiff_t kFewEnough = 32;
  const double target = top_p * total_weight();
  double cumulative = 0.0;  // of what comes before begin
  auto begin = candidates_.begin();
  auto end = candidates_.end();
  while (end - begin > kFewEnough) {
    std::array<Candidate, 3> three = {*begin, begin[(end - begin) / 2], end[-1]};
    std::ranges::sort(three, precedes);
    const auto middle = std::partition(begin, end, [&](const Candidate& c) { return precedes(c, three[1]); });
    const double upper = blocked_sum(static_cast<size_t>(middle - begin), [&](size_t i) { return begin[i].weight; });
    if (cumulative + upper >= target) {
      end = middle;
    } else {
      cumulative += upper;
      begin = middle;
    }
  }
  std::sort(begin, end, precedes);
  for (; cumulative < target && begin != end; ++begin) cumulative += begin->weight;
  candidates_.erase(begin, candidates_.end());
}

// The largest weight is 1.
void Sampler::keep_min_p(double min_p) {
  std::erase_if(candidates_, [&](const Candidate& candidate) { return candidate.weight < min_p; });
}

double Sampler::total_weight() const {
  return blocked_sum(candidates_.size(), [this](size_t i) { return candidates_[i].weight; });
}

}  // namespace octet
