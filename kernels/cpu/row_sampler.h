// Chooses one token after the other as kernels/sample_spec.h says.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "kernels/sampling.h"

namespace octet {

// The work of one thread, with its memory, which only grows. The logits are looked at in blocks: where only large ones
// count, as for top_k, a block's largest tells whether it is worth a look.
class RowSampler {
 public:
  explicit RowSampler(const KernelTable& kernels) : kernels_(kernels) {}

  // Makes room for rows of `vocab` logits: samples of those allocate nothing.
  void reserve(size_t vocab);

  // Answers `spec` for the row of logits; the first num_top of `top` are filled.
  void sample(std::span<const float> logits, const SampleSpec& spec, std::span<const LogitEdit> edits,
              SampledRow& answer, std::span<TokenLogit> top);

 private:
  // The logits after `edits`; the row's own memory where there are none.
  std::span<const float> edit(std::span<const float> logits, std::span<const LogitEdit> edits);
  // Finds the largest logit of each block and returns that of all, NaN where one is NaN or plus infinity.
  float scan(std::span<const float> logits);
  // A token of the scanned row with its largest logit.
  TokenId first_of(std::span<const float> logits, float largest) const;
  // The token that is drawn from the scanned row.
  TokenId draw(std::span<const float> logits, const SampleSpec& spec, float largest);
  // Fills the answer's total and `top` from the scanned row as it was before edits.
  void describe(std::span<const float> logits, float largest, SampledRow& answer, std::span<TokenLogit> top);

  // In the order of `precedes`, the k-th token, k >= 1; it and those before it are the first k candidates.
  TokenLogit kth(std::span<const float> logits, int64_t k);
  // Weighs the blocks that hold a logit of `least` or more, and their sums; other blocks' sums are 0. Returns the
  // total.
  uint64_t weigh(std::span<const float> logits, const SoftmaxScale& scale, float least);
  // Sums, of each block, the weights of min_weight or more of tokens that do not come behind `last`.
  uint64_t sum_kept(std::span<const float> logits, const TokenLogit& last, uint64_t min_weight);
  // The last of those that reach `target` together. REQUIRES: the weights of tokens up to `last` do.
  TokenLogit last_to_reach(std::span<const float> logits, const SoftmaxScale& scale, const TokenLogit& last,
                           uint64_t target);
  // Calls function(token, its weight) for the tokens of a block that do not come behind `last`, by rising id.
  template <typename Function>
  void for_each_kept(std::span<const float> logits, size_t block, const TokenLogit& last, const Function& function);

  struct Candidate {
    TokenLogit token;
    uint64_t weight;
  };
  // Classes of tokens by their logit's distance from the largest, for last_to_reach: 32 for a factor of e, so that
  // those in the last one weigh nothing.
  static constexpr int kNumClasses = 1024;

  const KernelTable& kernels_;
  std::vector<float> edited_;           // [vocab]
  std::vector<float> weights_;          // [vocab], kWeightOne times too large; those of weighed blocks
  std::vector<float> block_largest_;    // [blocks]
  std::vector<uint64_t> block_weight_;  // [blocks]
  std::vector<float> bounds_;           // of kth
  std::vector<TokenLogit> candidates_;  // of kth
  std::vector<Candidate> class_;        // of last_to_reach: the class in which the target is reached
  std::array<uint64_t, kNumClasses> class_weight_{};
};

}  // namespace octet
