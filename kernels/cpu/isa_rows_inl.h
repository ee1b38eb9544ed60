// Row-wise kernels and softmax, on the vectors (Vec) of the translation unit that includes this. Whatever the width of
// a vector, reductions run over 64 lanes: lane i holds every 64th element, lanes are combined as (i, i + 32), (i, i +
// 16), …
#pragma once

namespace octet {
namespace {

constexpr int64_t kReduceLanes = 64;
constexpr int kReduceVectors = static_cast<int>(kReduceLanes) / kLanes;

const auto add_lanes = [](Float a, Float b) { return a + b; };
const auto max_lanes = [](Float a, Float b) { return Vec::max(a, b); };

template <typename Combine>
float reduce_lanes(Float (&lanes)[kReduceVectors], const Combine& combine) {
  for (int half = kReduceVectors / 2; half > 0; half /= 2) {
    for (int v = 0; v < half; ++v) lanes[v] = combine(lanes[v], lanes[v + half]);
  }
  return Vec::reduce(lanes[0], combine);
}

// e^x, within about 1 ulp; exactly 1 at 0, 0 below -86.5 (and at -inf), +inf above 88.73; NaN stays NaN. Reduction to
// r = x - n · ln 2 in two steps and the polynomial of Cephes' expf.
inline Float exp_lanes(Float x) {
  const Float limited = Vec::select_less(Vec::set1(89.0F), x, Vec::set1(89.0F), x);
  const Float n = Vec::round(limited * Vec::set1(1.44269504088896341F));
  Float r = Vec::fma(n, Vec::set1(-0.693359375F), limited);
  r = Vec::fma(n, Vec::set1(2.12194440e-4F), r);
  Float p = Vec::set1(1.9875691500e-4F);
  p = Vec::fma(p, r, Vec::set1(1.3981999507e-3F));
  p = Vec::fma(p, r, Vec::set1(8.3334519073e-3F));
  p = Vec::fma(p, r, Vec::set1(4.1665795894e-2F));
  p = Vec::fma(p, r, Vec::set1(1.6666665459e-1F));
  p = Vec::fma(p, r, Vec::set1(5.0000001201e-1F));
  p = Vec::fma(p, r * r, r) + Vec::set1(1.0F);
  // 2^128 is no fp32: half the power first, then double.
  const Float result = p * Vec::power_of_two(n - Vec::set1(1.0F)) * Vec::set1(2.0F);
  return Vec::select_less(x, Vec::set1(-86.5F), Vec::set1(0), result);
}

inline float first_lane(Float v) {
  return Vec::reduce(v, [](Float a, Float) { return a; });
}

// Calls function(first element, number of elements) for whole vectors, then for the rest.
template <typename Function>
[[gnu::always_inline]] inline void for_each_vector(int64_t count, const Function& function) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) function(i, int64_t{kLanes});
  if (i < count) function(i, count - i);
}

inline Float load_part(const float* p, int64_t count) {
  return count == kLanes ? Vec::load(p) : Vec::load_first(p, count);
}
inline void store_part(float* p, int64_t count, Float v) {
  if (count == kLanes) {
    Vec::store(p, v);
  } else {
    Vec::store_first(p, count, v);
  }
}

void gate(const float* sums, int64_t rows, float* y, int64_t y_stride, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r, sums += kBlockColumns, y += y_stride) {
    for_each_vector(columns, [&](int64_t c, int64_t count) {
      const Float v = Vec::load(sums + c);
      const Float silu = v / (Vec::set1(1.0F) + exp_lanes(Vec::set1(0) - v));
      store_part(y + c, count, silu * Vec::load(sums + kBlockColumns / 2 + c));
    });
  }
}

void accumulate(const float* source, int64_t count, float* destination) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    store_part(destination + i, n, load_part(destination + i, n) + load_part(source + i, n));
  });
}

void accumulate_scaled(const float* source, float factor, int64_t count, float* destination) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    const Float scaled = Vec::set1(factor) * load_part(source + i, n);
    store_part(destination + i, n, load_part(destination + i, n) + scaled);
  });
}

void accumulate_scaled_bf16(const float* source, float factor, int64_t count, float* destination) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    const Float scaled = Vec::round_bf16(Vec::set1(factor) * load_part(source + i, n));
    store_part(destination + i, n, load_part(destination + i, n) + scaled);
  });
}

void round_bf16(int64_t count, float* values) {
  for_each_vector(count,
                  [&](int64_t i, int64_t n) { store_part(values + i, n, Vec::round_bf16(load_part(values + i, n))); });
}

void narrow_bf16(const float* source, int64_t count, std::byte* destination) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    std::byte narrowed[kLanes * 2];
    Vec::store_high_halves(narrowed, Vec::round_bf16(load_part(source + i, n)));
    __builtin_memcpy(destination + i * 2, narrowed, static_cast<size_t>(n * 2));
  });
}

void rms_norm(const float* x, const float* weight, float eps, int64_t count, float* y) {
  Float squares[kReduceVectors];
  for (Float& lanes : squares) lanes = Vec::set1(0);
  for (int64_t i = 0; i < count; i += kReduceLanes) {
    for (int v = 0; v < kReduceVectors; ++v) {
      const int64_t at = i + v * kLanes;
      if (at >= count) break;
      const Float lanes = load_part(x + at, count - at < kLanes ? count - at : kLanes);
      squares[v] = Vec::fma(lanes, lanes, squares[v]);
    }
  }
  const float mean = reduce_lanes(squares, add_lanes) / static_cast<float>(count);
  const Float scale = Vec::set1(1.0F / __builtin_sqrtf(mean + eps));
  for_each_vector(count, [&](int64_t i, int64_t n) {
    store_part(y + i, n, load_part(x + i, n) * scale * load_part(weight + i, n));
  });
}

void rotate(const float* table, int64_t half, float* head) {
  for_each_vector(half, [&](int64_t i, int64_t n) {
    const Float cosine = load_part(table + i, n);
    const Float sine = load_part(table + half + i, n);
    const Float a = load_part(head + i, n);
    const Float b = load_part(head + half + i, n);
    store_part(head + i, n, a * cosine - b * sine);
    store_part(head + half + i, n, b * cosine + a * sine);
  });
}

void softmax_block(float* scores, int64_t begin, int64_t end, const float* key_scales, const float* value_scales,
                   SoftmaxState& state, float* values, int64_t num_values) {
  const Float minus_infinity = Vec::set1(-__builtin_inff());
  Float lanes[kReduceVectors];
  Float largest[kReduceVectors];
  for (int v = 0; v < kReduceVectors; ++v) {
    const int64_t at = v * kLanes;
    Float score = Vec::load(scores + at);
    if (key_scales != nullptr) score = score * Vec::load(key_scales + at);
    // Chosen, not added: an unwritten slot may hold anything.
    lanes[v] = largest[v] = Vec::select_range(begin - at, end - at, score, minus_infinity);
  }
  const float block_maximum = reduce_lanes(largest, max_lanes);
  const float maximum = block_maximum > state.maximum ? block_maximum : state.maximum;
  for (int v = 0; v < kReduceVectors; ++v) {
    const int64_t at = v * kLanes;
    lanes[v] = exp_lanes(lanes[v] - Vec::set1(maximum));
    Float weight = lanes[v];
    if (value_scales != nullptr) {
      weight = Vec::select_range(begin - at, end - at, weight * Vec::load(value_scales + at), Vec::set1(0));
    }
    Vec::store(scores + at, weight);
  }
  const float block_total = reduce_lanes(lanes, add_lanes);
  if (maximum == state.maximum) {  // the factor would be exactly 1
    state.total += block_total;
    return;
  }
  const Float factor = exp_lanes(Vec::set1(state.maximum) - Vec::set1(maximum));
  state.maximum = maximum;
  state.total = state.total * first_lane(factor) + block_total;
  for_each_vector(num_values,
                  [&](int64_t i, int64_t n) { store_part(values + i, n, load_part(values + i, n) * factor); });
}

void softmax_merge(const SoftmaxState& split, const float* split_values, SoftmaxState& merged, float* values,
                   int64_t num_values) {
  const float maximum = split.maximum > merged.maximum ? split.maximum : merged.maximum;
  const Float factor = exp_lanes(Vec::set1(merged.maximum) - Vec::set1(maximum));
  const Float split_factor = exp_lanes(Vec::set1(split.maximum) - Vec::set1(maximum));
  merged.maximum = maximum;
  merged.total = merged.total * first_lane(factor) + split.total * first_lane(split_factor);
  for_each_vector(num_values, [&](int64_t i, int64_t n) {
    const Float later = load_part(split_values + i, n) * split_factor;
    store_part(values + i, n, load_part(values + i, n) * factor + later);
  });
}

void divide(const float* values, float divisor, int64_t count, float* out) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    // Adding +0 makes every zero positive: a masked key may have flipped the sign of one, and nothing else.
    store_part(out + i, n, load_part(values + i, n) / Vec::set1(divisor) + Vec::set1(0));
  });
}

void exponential(float* values, int64_t count) {
  for_each_vector(count, [&](int64_t i, int64_t n) { store_part(values + i, n, exp_lanes(load_part(values + i, n))); });
}

float largest(const float* values, int64_t count) {
  const Float infinity = Vec::set1(__builtin_inff());
  Float most = Vec::set1(-__builtin_inff());
  Float bad = Vec::set1(0);  // 1 where an element was not below infinity, as NaN is not
  for_each_vector(count, [&](int64_t i, int64_t n) {
    const Float v = Vec::select_range(0, n, load_part(values + i, n), Vec::set1(-__builtin_inff()));
    most = Vec::max(most, v);
    bad = Vec::select_less(v, infinity, bad, Vec::set1(1.0F));
  });
  return Vec::reduce(bad, max_lanes) > 0 ? __builtin_nanf("") : Vec::reduce(most, max_lanes);
}

uint64_t weigh(const float* logits, int64_t count, const SoftmaxScale& by, float* weights) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    const Float below = load_part(logits + i, n) - Vec::set1(by.largest);
    store_part(weights + i, n, exp_lanes(below / Vec::set1(by.temperature)) * Vec::set1(by.one));
  });
  int64_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<int64_t>(weights[i]);
  return static_cast<uint64_t>(sum);
}

// Bytes of one element.
constexpr int64_t element_bytes(Element element) {
  return element == Element::kF32 ? 4 : element == Element::kI8 ? 1 : 2;
}

template <Element E>
Float load_elements(const std::byte* source) {
  if constexpr (E == Element::kF32) return Vec::load(reinterpret_cast<const float*>(source));
  if constexpr (E == Element::kBF16) return Vec::load_bf16(source);
  if constexpr (E == Element::kF16) return Vec::load_f16(source);
  if constexpr (E == Element::kI8) return Vec::load_i8(source);
}

template <Element E>
void convert(const std::byte* source, int64_t count, float* destination) {
  for_each_vector(count, [&](int64_t i, int64_t n) {
    const std::byte* from = source + i * element_bytes(E);
    std::byte padded[kLanes * 4] = {};
    if (n < kLanes) {
      __builtin_memcpy(padded, from, static_cast<size_t>(n * element_bytes(E)));
      from = padded;
    }
    store_part(destination + i, n, load_elements<E>(from));
  });
}

}  // namespace
}  // namespace octet
