#include "kernels/reference/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/reference/reference_backend.h"

namespace octet {
namespace {

// exp_lanes of kernels/cpu/isa_rows_inl.h, x <= 0.
float exponential(float x) {
  if (x < -86.5F) return 0;
  const float n = std::nearbyint(x * 1.44269504088896341F);
  float r = std::fma(n, -0.693359375F, x);
  r = std::fma(n, 2.12194440e-4F, r);
  float p = 1.9875691500e-4F;
  for (const float coefficient :
       {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F}) {
    p = std::fma(p, r, coefficient);
  }
  p = std::fma(p, r * r, r) + 1.0F;
  return std::ldexp(p, static_cast<int>(n));
}

uint64_t weight_of(float logit, float largest, float temperature) {
  return static_cast<uint64_t>(static_cast<float>(kWeightOne) * exponential((logit - largest) / temperature));
}

// The largest logit; NaN where no token can be chosen.
float finite_largest(const std::vector<TokenLogit>& order) {
  for (const TokenLogit& token : order) {
    if (std::isnan(token.logit)) return token.logit;
  }
  return std::isfinite(order.front().logit) ? order.front().logit : std::nanf("");
}

std::vector<TokenLogit> in_order(std::span<const float> logits) {
  std::vector<TokenLogit> order;
  for (const float logit : logits) order.push_back({static_cast<TokenId>(order.size()), logit});
  if (std::ranges::none_of(logits, [](float logit) { return std::isnan(logit); })) std::ranges::sort(order, precedes);
  return order;
}

std::vector<float> edited(std::span<const float> logits, std::span<const LogitEdit> edits) {
  std::vector<float> result(logits.begin(), logits.end());
  for (const LogitEdit& edit : edits) {
    float& logit = result[static_cast<size_t>(edit.token_id)];
    logit = edited_logit(logit, edit);
  }
  return result;
}

// The first token, by id, with which the sum of weights exceeds draw / 2^64 of their total.
TokenId drawn(const std::vector<uint64_t>& weights, uint64_t draw) {
  const uint64_t target = share_of(std::accumulate(weights.begin(), weights.end(), uint64_t{0}), draw);
  uint64_t sum = 0;
  for (size_t id = 0; id < weights.size(); ++id) {
    sum += weights[id];
    if (sum > target) return static_cast<TokenId>(id);
  }
  return -1;
}

}  // namespace

std::vector<uint64_t> kept_weights(std::span<const float> logits, const SampleSpec& spec,
                                   std::span<const LogitEdit> edits) {
  std::vector<uint64_t> result(logits.size());
  std::vector<TokenLogit> kept = in_order(edited(logits, edits));
  const float largest = finite_largest(kept);
  if (std::isnan(largest)) return result;
  if (spec.temperature == 0) {
    result[static_cast<size_t>(kept.front().token_id)] = kWeightOne;
    return result;
  }
  const auto weight = [&](const TokenLogit& token) { return weight_of(token.logit, largest, spec.temperature); };
  if (spec.top_k > 0) kept.resize(std::min(kept.size(), static_cast<size_t>(spec.top_k)));
  if (spec.top_p > 0) {
    uint64_t total = 0;
    for (const TokenLogit& token : kept) total += weight(token);
    const uint64_t target = share_of(total, spec.top_p);
    size_t count = 1;
    for (uint64_t sum = weight(kept[0]); sum < target; ++count) sum += weight(kept[count]);
    kept.resize(count);
  }
  for (const TokenLogit& token : kept) {
    if (weight(token) >= spec.min_weight) result[static_cast<size_t>(token.token_id)] = weight(token);
  }
  return result;
}

void ReferenceBackend::sample(TensorView logits, const SamplingBatch& batch, TensorView out, Stream&) {
  const auto vocab = static_cast<size_t>(logits.row_elements());
  OCTET_CHECK(logits.row_elements() <= kMaxSampledVocab && out.rows() == batch.size());
  const SampledRows rows(static_cast<std::byte*>(out.data), SampledRows::num_top(out.row_elements()));
  for (size_t sample = 0; sample < batch.samples.size(); ++sample) {
    const SampleSpec& spec = batch.samples[sample];
    const std::span<const float> row(logits.as<float>() + static_cast<size_t>(spec.row) * vocab, vocab);
    SampledRow& answer = rows[sample] = {};
    answer.token_id = drawn(kept_weights(row, spec, batch.edits_of(spec)), spec.draw);
    if (answer.token_id < 0) {
      answer.largest = std::nanf("");
      continue;
    }
    if (spec.given >= 0) answer.token_id = spec.given;
    answer.logit = row[static_cast<size_t>(answer.token_id)];
    if (spec.num_top < 0) continue;
    const std::vector<TokenLogit> order = in_order(row);
    answer.largest = order.front().logit;
    for (const TokenLogit& token : order) answer.total += weight_of(token.logit, answer.largest, 1.0F);
    std::copy_n(order.begin(), spec.num_top, rows.top(sample).begin());
  }
}

}  // namespace octet
