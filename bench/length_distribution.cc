#include "bench/length_distribution.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "runtime/base/quote.h"

namespace octet {
namespace {

constexpr int64_t kMostTokens = 1 << 24;

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool is_length(std::optional<int64_t> length) { return length && *length >= 1 && *length <= kMostTokens; }

}  // namespace

Result<LengthDistribution> LengthDistribution::parse(std::string_view text) {
  if (const auto length = parse_number<int64_t>(text); is_length(length)) {
    return LengthDistribution(Uniform{*length, *length});
  }
  const auto colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const std::string_view values = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (name == "uniform") {
    const auto parts = split(values, '-');
    const auto least = parse_number<int64_t>(parts[0]);
    const auto most = parse_number<int64_t>(parts.back());
    if (parts.size() == 2 && is_length(least) && is_length(most) && *least <= *most) {
      return LengthDistribution(Uniform{*least, *most});
    }
  } else if (name == "lognormal") {
    const auto parts = split(values, ',');
    const auto median = parse_number<double>(parts[0]);
    const auto sigma = parts.size() < 2 ? std::nullopt : parse_number<double>(parts[1]);
    const bool in_bounds = median && sigma && *median >= 1 && *median <= kMostTokens / 8 && *sigma >= 0 && *sigma <= 4;
    if (in_bounds && parts.size() == 2) {
      return LengthDistribution(Lognormal{*median, *sigma, std::llround(8 * *median)});
    }
    const auto most = parts.size() == 3 ? parse_number<int64_t>(parts[2]) : std::nullopt;
    if (in_bounds && is_length(most)) return LengthDistribution(Lognormal{*median, *sigma, *most});
  }
  return invalid_input("{} is no length: N, uniform:LEAST-MOST or lognormal:MEDIAN,SIGMA[,MOST]", quote(text));
}

int64_t LengthDistribution::draw(std::mt19937_64& random) const {
  if (const auto* uniform = std::get_if<Uniform>(&shape_)) {
    return std::uniform_int_distribution<int64_t>(uniform->least, uniform->most)(random);
  }
  const auto& lognormal = std::get<Lognormal>(shape_);
  const double length = std::lognormal_distribution<double>(std::log(lognormal.median), lognormal.sigma)(random);
  return std::clamp<int64_t>(std::llround(std::min(length, 1e9)), 1, lognormal.most);
}

}  // namespace octet
