// The choices of one step and their answers (sample_spec.h), as hosts hold them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sample_spec.h"
#include "runtime/base/tensor.h"

namespace octet {

// Sums of weights stay below 2^63.
inline constexpr int64_t kMaxSampledVocab = int64_t{1} << 22;

// The choices of one step.
struct SamplingBatch {
  std::vector<SampleSpec> samples;
  std::vector<LogitEdit> edits;

  void clear() {
    samples.clear();
    edits.clear();
  }
  int64_t size() const { return static_cast<int64_t>(samples.size()); }
  std::span<const LogitEdit> edits_of(const SampleSpec& spec) const {
    return {edits.data() + spec.first_edit, static_cast<size_t>(spec.num_edits)};
  }
  // The longest list that is asked for.
  int64_t most_top() const {
    int32_t most = 0;
    for (const SampleSpec& spec : samples) most = std::max(most, spec.num_top);
    return most;
  }
};

// Answers as they lie in memory: each a SampledRow, then `num_top` TokenLogits, the most probable first, of which the
// first SampleSpec::num_top count.
class SampledRows {
 public:
  // Bytes of one answer.
  static constexpr int64_t stride(int64_t num_top) {
    return static_cast<int64_t>(sizeof(SampledRow)) + num_top * static_cast<int64_t>(sizeof(TokenLogit));
  }
  // The num_top whose stride this is.
  static constexpr int64_t num_top(int64_t stride) {
    return (stride - static_cast<int64_t>(sizeof(SampledRow))) / static_cast<int64_t>(sizeof(TokenLogit));
  }

  SampledRows() = default;
  SampledRows(std::byte* data, int64_t num_top) : data_(data), num_top_(num_top) {}

  SampledRow& operator[](size_t sample) const { return *reinterpret_cast<SampledRow*>(at(sample)); }
  std::span<TokenLogit> top(size_t sample) const {
    return {reinterpret_cast<TokenLogit*>(at(sample) + sizeof(SampledRow)), static_cast<size_t>(num_top_)};
  }

 private:
  std::byte* at(size_t sample) const { return data_ + static_cast<int64_t>(sample) * stride(num_top_); }

  std::byte* data_ = nullptr;
  int64_t num_top_ = 0;
};

// One LogitEdit's arithmetic.
inline float edited_logit(float logit, const LogitEdit& edit) {
  logit += edit.bias;
  logit = logit > 0.0F ? logit / edit.repetition : logit * edit.repetition;
  return logit - edit.penalty;
}

// More probable first, equal ones by rising id.
inline bool precedes(const TokenLogit& a, const TokenLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token_id < b.token_id);
}

// fraction / 2^64 of `total`, rounded down.
inline uint64_t share_of(uint64_t total, uint64_t fraction) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((Wide{total} * fraction) >> 64);
}

}  // namespace octet
