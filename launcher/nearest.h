// Guesses what a misspelt word was meant to be.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

// The candidate with the smallest edit distance to `word`, if it is close enough to be meant (at most a third of the
// word's length, and at least one edit is always allowed).
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace octet
