// The midpoint tree in which the partial sums of a product are added, as a stack machine: partials arrive in order,
// each is pushed, and after partial p the two topmost sums are merged merges_after(p) times. See
// WeightSpec::partial_bounds.
#pragma once

#include <algorithm>
#include <cstddef>

namespace octet {

// The number of inner nodes of the tree over [0, count) whose last leaf is `leaf`.
inline int merges_after(size_t leaf, size_t count) {
  int merges = 0;
  size_t begin = 0;
  size_t end = count;
  while (end - begin > 1) {
    if (end == leaf + 1) ++merges;
    const size_t middle = (begin + end) / 2;
    (leaf < middle ? end : begin) = middle;
  }
  return merges;
}

// The most sums that the stack holds at a time.
inline int tree_stack_depth(size_t count) {
  int depth = 0;
  int deepest = 0;
  for (size_t leaf = 0; leaf < count; ++leaf) {
    deepest = std::max(deepest, ++depth);
    depth -= merges_after(leaf, count);
  }
  return deepest;
}

}  // namespace octet
