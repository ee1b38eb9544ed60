#include "runtime/model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/model/counter_rng.h"

namespace octet {
namespace {

// No temperature divides by zero.
float divisor_of(double temperature) {
  return std::max(static_cast<float>(temperature), std::numeric_limits<float>::min());
}

// fraction · 2^64, fraction < 1.
uint64_t of_two_to_the_64(double fraction) { return static_cast<uint64_t>(std::ldexp(fraction, 64)); }

void add_truncation(const SamplingParams& params, SampleSpec& spec) {
  spec.temperature = divisor_of(params.temperature);
  spec.top_k = static_cast<int32_t>(std::min<int64_t>(params.top_k, std::numeric_limits<int32_t>::max()));
  // A top_p of 0 would be off; the least that is not keeps one token, too.
  if (params.top_p < 1.0) spec.top_p = std::max<uint64_t>(of_two_to_the_64(params.top_p), 1);
  spec.min_weight = static_cast<uint64_t>(std::ceil(params.min_p * static_cast<double>(kWeightOne)));
}

}  // namespace

int64_t Sampler::choose(const SamplingInput& input, SamplingBatch& batch) {
  SampleSpec spec{.row = static_cast<int32_t>(input.row), .first_edit = static_cast<int32_t>(batch.edits.size())};
  if (input.params.changes_logits() || !input.banned.empty()) {
    edits_.append(input.params, input.tokens, input.prompt_size, input.banned, batch.edits);
    spec.num_edits = static_cast<int32_t>(batch.edits.size()) - spec.first_edit;
  }
  if (input.num_top) spec.num_top = static_cast<int32_t>(*input.num_top);
  if (!input.params.greedy()) {
    OCTET_CHECK(input.params.seed.has_value());
    add_truncation(input.params, spec);
    const int64_t output_index = std::ssize(input.tokens) - input.prompt_size;
    spec.draw = random_bits(*input.params.seed, input.sample_index, output_index);
  }
  batch.samples.push_back(spec);
  return batch.size() - 1;
}

int64_t Sampler::score(int64_t row, TokenId token, int64_t num_top, SamplingBatch& batch) {
  batch.samples.push_back({.row = static_cast<int32_t>(row), .num_top = static_cast<int32_t>(num_top), .given = token});
  return batch.size() - 1;
}

Result<TokenId> chosen_token(const Choice& choice) {
  if (choice.row.token_id < 0) return failed("no token can be chosen: the logits are not finite");
  return choice.row.token_id;
}

void read_logprobs(const Choice& choice, Logprobs& out) {
  const double log_total =
      choice.row.largest + std::log(static_cast<double>(choice.row.total) / static_cast<double>(kWeightOne));
  out.chosen = static_cast<float>(choice.row.logit - log_total);
  out.top.clear();
  for (const TokenLogit& token : choice.top) {
    out.top.push_back({token.token_id, static_cast<float>(token.logit - log_total)});
  }
}

}  // namespace octet
