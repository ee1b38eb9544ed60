#include "runtime/checkpoint/rope_scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "runtime/base/json_text.h"
#include "runtime/base/quote.h"

namespace octet {
namespace {

using nlohmann::json;

// Far beyond any model; chosen so that nothing overflows.
constexpr double kMaxFactor = 1e6;
constexpr double kMaxBeta = 1e6;
constexpr int64_t kMaxOriginalPositions = int64_t{1} << 24;

struct KindName {
  const char* name;
  RopeKind kind;
};
constexpr std::array<KindName, 5> kKinds = {{{"default", RopeKind::kDefault},
                                             {"linear", RopeKind::kLinear},
                                             {"dynamic", RopeKind::kDynamic},
                                             {"llama3", RopeKind::kLlama3},
                                             {"yarn", RopeKind::kYarn}}};

// What the paper suggests for a context that grows by `scale`.
double yarn_attention_factor(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

// The pair (counted from 0, with a fraction) that turns `rotations` times in the original context.
double pair_of_rotations(double rotations, double head_dim, double theta, double positions) {
  return head_dim * std::log(positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

// theta^(-2i / head_dim), rounded to fp32 at each step.
void plain_frequencies(double theta, std::span<float> out) {
  const auto head_dim = static_cast<float>(2 * out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / head_dim;
    out[i] = 1.0F / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
}

// Theta of a sequence of `length` tokens.
double dynamic_theta(const RopeScaling& s, double theta, int64_t length, size_t num_pairs) {
  const double ratio =
      static_cast<double>(std::max(length, s.original_positions)) / static_cast<double>(s.original_positions);
  const double head_dim = 2 * static_cast<double>(num_pairs);
  return theta * std::pow(s.factor * ratio - (s.factor - 1), head_dim / (head_dim - 2));
}

void scale_as_llama3(const RopeScaling& s, std::span<float> out) {
  const auto positions = static_cast<double>(s.original_positions);
  const auto longest_kept = static_cast<float>(positions / s.high_frequency_factor);
  const auto shortest_divided = static_cast<float>(positions / s.low_frequency_factor);
  const auto factor = static_cast<float>(s.factor);
  for (float& frequency : out) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / frequency;
    if (wavelength < longest_kept) continue;
    if (wavelength > shortest_divided) {
      frequency /= factor;
      continue;
    }
    const float smooth =
        (static_cast<float>(s.original_positions) / wavelength - static_cast<float>(s.low_frequency_factor)) /
        static_cast<float>(s.high_frequency_factor - s.low_frequency_factor);
    frequency = (1.0F - smooth) * frequency / factor + smooth * frequency;
  }
}

void scale_as_yarn(const RopeScaling& s, double theta, std::span<float> out) {
  const auto head_dim = static_cast<double>(2 * out.size());
  const auto positions = static_cast<double>(s.original_positions);
  double low = pair_of_rotations(s.beta_fast, head_dim, theta, positions);
  double high = pair_of_rotations(s.beta_slow, head_dim, theta, positions);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, head_dim - 1);
  if (low == high) high += 0.001;
  const auto begin = static_cast<float>(low);
  const auto width = static_cast<float>(high - low);
  for (size_t i = 0; i < out.size(); ++i) {
    const float ramp = std::clamp((static_cast<float>(i) - begin) / width, 0.0F, 1.0F);
    const float kept = 1.0F - ramp;
    const float divided = 1.0F / (static_cast<float>(s.factor) * (1.0F / out[i]));
    out[i] = divided * (1.0F - kept) + out[i] * kept;
  }
}

class RopeReader {
 public:
  RopeReader(const char* key, const json& object, const RopeDefaults& defaults)
      : key_(key), fields_(object, std::string(key) + "."), defaults_(defaults) {}

  Result<RopeScaling> read() {
    OCTET_RETURN_IF_ERROR(read_kind());
    if (scaling_.kind == RopeKind::kDefault) return scaling_;
    OCTET_RETURN_IF_ERROR(read_original());
    OCTET_RETURN_IF_ERROR(read_factor());
    if (scaling_.kind == RopeKind::kLlama3) OCTET_RETURN_IF_ERROR(read_llama3());
    if (scaling_.kind == RopeKind::kYarn) OCTET_RETURN_IF_ERROR(read_yarn());
    OCTET_RETURN_IF_ERROR(fields_.status());
    return scaling_;
  }

 private:
  Status read_kind() {
    type_key_ = fields_.has("rope_type") ? "rope_type" : "type";
    const std::string type = fields_.string_or(type_key_, "default");
    const double part = fields_.number_or("partial_rotary_factor", 1, 0, 1);
    OCTET_RETURN_IF_ERROR(fields_.status());
    if (part != 1) return invalid_input("{}.partial_rotary_factor is {}; it must be 1", key_, part);
    const auto* known = std::ranges::find(kKinds, type, &KindName::name);
    if (known == kKinds.end()) {
      return invalid_input("{}.{} is {}; known are default, linear, dynamic, llama3 and yarn", key_, type_key_,
                           quote(type));
    }
    scaling_.kind = known->kind;
    return ok_status();
  }

  Status needs(const char* name) const {
    if (fields_.has(name)) return ok_status();
    return invalid_input("{}.{} is '{}', which needs {}.{}", key_, type_key_, rope_kind_name(scaling_.kind), key_,
                         name);
  }

  // Of dynamic scaling, the declared context is the original one.
  Status read_original() {
    const bool dynamic = scaling_.kind == RopeKind::kDynamic;
    const int64_t own = fields_.integer_or("original_max_position_embeddings", 0, 1, kMaxOriginalPositions);
    OCTET_RETURN_IF_ERROR(fields_.status());
    scaling_.original_positions = defaults_.original_positions > 0 ? defaults_.original_positions : own;
    scaling_.original_is_assumed = scaling_.original_positions == 0 && !dynamic;
    if (scaling_.original_positions == 0 || dynamic) scaling_.original_positions = defaults_.declared_positions;
    return ok_status();
  }

  Status read_factor() {
    const bool follows = scaling_.kind == RopeKind::kYarn && !scaling_.original_is_assumed;
    if (!follows) OCTET_RETURN_IF_ERROR(needs("factor"));
    const double ratio =
        static_cast<double>(defaults_.declared_positions) / static_cast<double>(scaling_.original_positions);
    scaling_.factor = fields_.number_or("factor", ratio, 1, kMaxFactor);
    OCTET_RETURN_IF_ERROR(fields_.status());
    if (scaling_.factor >= 1) return ok_status();
    return invalid_input(
        "{}.original_max_position_embeddings is {}; it must be at most max_position_embeddings, which "
        "is {}",
        key_, scaling_.original_positions, defaults_.declared_positions);
  }

  Status read_llama3() {
    OCTET_RETURN_IF_ERROR(needs("low_freq_factor"));
    OCTET_RETURN_IF_ERROR(needs("high_freq_factor"));
    scaling_.low_frequency_factor = fields_.number_or("low_freq_factor", 1, 1e-3, kMaxFactor);
    scaling_.high_frequency_factor = fields_.number_or("high_freq_factor", 4, 1e-3, kMaxFactor);
    OCTET_RETURN_IF_ERROR(fields_.status());
    if (scaling_.high_frequency_factor > scaling_.low_frequency_factor) return ok_status();
    return invalid_input("{}.high_freq_factor is {}; it must be above low_freq_factor, which is {}", key_,
                         scaling_.high_frequency_factor, scaling_.low_frequency_factor);
  }

  Status read_yarn() {
    const auto number_or_zero = [&](const char* name, double maximum) {
      return fields_.number_or(name, 0, 0, maximum);
    };
    const double beta_fast = number_or_zero("beta_fast", kMaxBeta);
    const double beta_slow = number_or_zero("beta_slow", kMaxBeta);
    if (beta_fast > 0) scaling_.beta_fast = beta_fast;  // 0 counts as absent, as in the reference implementation
    if (beta_slow > 0) scaling_.beta_slow = beta_slow;
    scaling_.truncate = fields_.boolean_or("truncate", true);
    const double mscale = number_or_zero("mscale", kMaxFactor);
    const double mscale_all_dim = number_or_zero("mscale_all_dim", kMaxFactor);
    const bool has_both = mscale > 0 && mscale_all_dim > 0;
    const double suggested = has_both ? yarn_attention_factor(scaling_.factor, mscale) /
                                            yarn_attention_factor(scaling_.factor, mscale_all_dim)
                                      : yarn_attention_factor(scaling_.factor, 1);
    scaling_.attention_factor = fields_.number_or("attention_factor", suggested, 0, kMaxFactor);
    return fields_.status();
  }

  const char* key_;
  const char* type_key_ = "rope_type";
  JsonFields fields_;
  RopeDefaults defaults_;
  RopeScaling scaling_;
};

}  // namespace

Result<RopeScaling> parse_rope_scaling(const char* key, const json& object, const RopeDefaults& defaults) {
  return RopeReader(key, object, defaults).read();
}

const char* rope_kind_name(RopeKind kind) { return std::ranges::find(kKinds, kind, &KindName::kind)->name; }

void rope_frequencies(const RopeScaling& scaling, double theta, int64_t position, std::span<float> row) {
  const std::span<float> out = row.first(row.size() - 1);
  row.back() = static_cast<float>(scaling.attention_factor);
  if (scaling.kind == RopeKind::kDynamic) theta = dynamic_theta(scaling, theta, position + 1, out.size());
  plain_frequencies(theta, out);
  if (scaling.kind == RopeKind::kLlama3) return scale_as_llama3(scaling, out);
  if (scaling.kind == RopeKind::kYarn) return scale_as_yarn(scaling, theta, out);
  if (scaling.kind != RopeKind::kLinear) return;
  for (float& frequency : out) frequency /= static_cast<float>(scaling.factor);
}

}  // namespace octet
