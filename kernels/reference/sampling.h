// What tokens weigh when one of them is drawn, by the definition.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling.h"

namespace octet {

// [vocab] weights of the tokens that are kept (kernels/sample_spec.h), 0 of others; greedy: the weight of the chosen
// one alone. All 0 where no token can be chosen.
std::vector<uint64_t> kept_weights(std::span<const float> logits, const SampleSpec& spec,
                                   std::span<const LogitEdit> edits);

}  // namespace octet
