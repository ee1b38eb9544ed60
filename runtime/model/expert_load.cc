#include "runtime/model/expert_load.h"

#include "runtime/base/check.h"

namespace octet {

void ExpertLoad::add(int64_t layer, std::span<const int32_t> experts) {
  for (const int32_t expert : experts) ++tokens_[static_cast<size_t>(layer * num_experts_ + expert)];
}

void ExpertLoad::add(std::span<const int64_t> tokens) {
  OCTET_CHECK(tokens.size() == tokens_.size(), "{} counts for {}", tokens.size(), tokens_.size());
  for (size_t i = 0; i < tokens_.size(); ++i) tokens_[i] += tokens[i];
}

}  // namespace octet
