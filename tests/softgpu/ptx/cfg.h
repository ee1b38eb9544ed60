// Control flow order.
#pragma once

#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

// Orders the reachable nodes of a flow graph (entry: node 0) topologically, except for back
// edges, with every loop contiguous: Bourdoncle's weak topological order ("Efficient chaotic
// iteration strategies with widenings", 1993). Executing the divergent path that is first in this
// order makes lanes that left a loop, or took the shorter branch, wait for the others.
std::vector<u32> weak_topological_order(const std::vector<std::vector<u32>>& successors);

}  // namespace octet::softgpu
