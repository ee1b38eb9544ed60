#include "runtime/model/perplexity.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/base/check.h"

namespace octet {
namespace {

constexpr size_t kBlock = 256;  // logits summed before their sum joins the row's

// Ranges of positions: 0: 1-31, 1: 32-127, 2: 128-255, and each further one is twice as long as the one before.
int range_of(int64_t position) {
  if (position < 32) return 0;
  return std::max(1, static_cast<int>(std::bit_width(static_cast<uint64_t>(position))) - 6);
}

std::string range_label(int range) {
  if (range == 0) return "1-31";
  const int64_t first = range == 1 ? 32 : int64_t{64} << (range - 1);
  return fmt::format("{}-{}", first, (int64_t{128} << (range - 1)) - 1);
}

}  // namespace

Result<std::vector<PerplexityWindow>> perplexity_windows(int64_t num_tokens, int64_t context, int64_t stride) {
  if (context < 2) return invalid_input("a context of {} tokens leaves none to score; the least is 2", context);
  if (stride < 1 || stride >= context) {
    return invalid_input("a stride of {} tokens is not in 1–{} (context − 1)", stride, context - 1);
  }
  if (num_tokens < 1) return invalid_input("the text has no token to score");
  std::vector<PerplexityWindow> windows;
  int64_t scored = 0;
  for (int64_t first = 0; scored < num_tokens; first += stride) {
    const int64_t end = std::min(first + context - 1, num_tokens);
    windows.push_back({first, end - first, scored - first + 1});
    scored = end;
  }
  return windows;
}

std::vector<TokenId> window_ids(std::span<const TokenId> stream, const PerplexityWindow& window, TokenId bos_id) {
  const auto tokens = stream.subspan(static_cast<size_t>(window.first_token), static_cast<size_t>(window.num_tokens));
  std::vector<TokenId> ids = {bos_id};
  ids.insert(ids.end(), tokens.begin(), tokens.end());
  return ids;
}

double negative_log_likelihood(std::span<const float> logits, TokenId target) {
  OCTET_CHECK(target >= 0 && static_cast<size_t>(target) < logits.size(), "token {} of {}", target, logits.size());
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    double block_sum = 0;
    for (const float logit : logits.subspan(begin, std::min(kBlock, logits.size() - begin))) {
      block_sum += std::exp(logit - largest);
    }
    sum += block_sum;
  }
  return std::log(sum) + (largest - logits[static_cast<size_t>(target)]);
}

double PerplexityTable::Sum::perplexity() const { return std::exp(nll / static_cast<double>(count)); }

void PerplexityTable::add(int64_t position, double nll) {
  OCTET_CHECK(position >= 1, "position {}", position);
  Sum& sum = ranges_[range_of(position)];
  ++sum.count;
  sum.nll += nll;
}

PerplexityTable::Sum PerplexityTable::total() const {
  Sum total;
  for (const auto& [range, sum] : ranges_) {
    total.count += sum.count;
    total.nll += sum.nll;
  }
  return total;
}

int64_t PerplexityTable::tokens_scored() const { return total().count; }

double PerplexityTable::perplexity() const {
  OCTET_CHECK(!ranges_.empty(), "nothing was scored");
  return total().perplexity();
}

std::string PerplexityTable::to_text() const {
  std::string text = fmt::format("{:>16}  {:>10}  {:>12}\n", "positions", "tokens", "perplexity");
  for (const auto& [range, sum] : ranges_) {
    text += fmt::format("{:>16}  {:>10}  {:>12.4f}\n", range_label(range), sum.count, sum.perplexity());
  }
  return text + fmt::format("{:>16}  {:>10}  {:>12.4f}\n", "all", tokens_scored(), perplexity());
}

std::string PerplexityTable::to_json() const {
  nlohmann::ordered_json by_position = nlohmann::ordered_json::object();
  for (const auto& [range, sum] : ranges_) by_position[range_label(range)] = sum.perplexity();
  const nlohmann::ordered_json json = {
      {"perplexity", perplexity()}, {"tokens_scored", tokens_scored()}, {"perplexity_by_position", by_position}};
  return json.dump();
}

}  // namespace octet
