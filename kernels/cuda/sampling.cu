// The choice of tokens, to the bit as kernels/sample_spec.h says: sums are of integers, and the exponential is the cpu
// backend's chain of operations. A block of 512 threads a choice, at most 64 registers each: two blocks on an SM. It
// reads its row from the caches some ten times for a plain draw, and some fifteen for each truncation: bound by
// latency.
#include <climits>

#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/sampling_kernels.h"

namespace octet::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr int kDigits = 8;  // of the search for a logit, three bits at a time
constexpr unsigned kAll = 0xffffffffU;

using Weight = unsigned long long;

struct Row {
  const float* logits;
  int vocab;
};

struct Shared {
  Weight of_warp[kDigits][kWarps];
  int token;
  int listed_ids[kMaxListed];
  float listed_logits[kMaxListed];
};

// Tokens up to a last one, in the order of falling logits, equal ones by rising id.
struct Cut {
  uint32_t key = 0;    // of the last logit
  int last = INT_MAX;  // id of the last token with this logit

  __device__ bool keeps(uint32_t of, int id) const { return of > key || (of == key && id <= last); }
};

// Orders as the logits do, -0 as 0.
__device__ __forceinline__ uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ __forceinline__ float logit_of(uint32_t key) {
  return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7fffffffU : ~key);
}

struct Weigh {
  float largest;
  float temperature;

  __device__ Weight operator()(float logit) const {
    const float x = __fdiv_rn(__fsub_rn(logit, largest), temperature);
    if (x < -86.5F) return 0;
    const float n = rintf(__fmul_rn(x, 1.44269504088896341F));
    float r = fmaf(n, -0.693359375F, x);
    r = fmaf(n, 2.12194440e-4F, r);
    float p = 1.9875691500e-4F;
    p = fmaf(p, r, 1.3981999507e-3F);
    p = fmaf(p, r, 8.3334519073e-3F);
    p = fmaf(p, r, 4.1665795894e-2F);
    p = fmaf(p, r, 1.6666665459e-1F);
    p = fmaf(p, r, 5.0000001201e-1F);
    p = __fadd_rn(fmaf(p, __fmul_rn(r, r), r), 1.0F);
    // Times 2^n, times kWeightOne, which is 2^40.
    return static_cast<Weight>(__fmul_rn(p, __int_as_float((static_cast<int>(n) + 40 + 127) << 23)));
  }
};

struct Count {
  __device__ Weight operator()(float) const { return 1; }
};

// Calls body(id, logit) for the thread's tokens, by rising id; a thread's tokens come before the next one's.
template <typename Body>
__device__ __forceinline__ void for_each_own(const Row& row, const Body& body) {
  const int share = ((row.vocab + kThreads - 1) / kThreads + 3) & ~3;
  const int begin = static_cast<int>(threadIdx.x) * share;
  const int end = min(begin + share, row.vocab);
  const bool is_aligned = row.vocab % 4 == 0;
  for (int i = begin; i < end; i += 4) {
    float values[4];
    if (is_aligned) {
      *reinterpret_cast<float4*>(values) = *reinterpret_cast<const float4*>(row.logits + i);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) values[j] = i + j < end ? row.logits[i + j] : 0.0F;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (i + j < end) body(i + j, values[j]);
    }
  }
}

__device__ __forceinline__ Weight warp_total(Weight value) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kAll, value, lanes);
  return value;
}

// The sum over the block, known to all of it. Every thread calls it.
__device__ Weight block_total(Weight value, Shared& shared) {
  value = warp_total(value);
  if (threadIdx.x % kWarp == 0) shared.of_warp[0][threadIdx.x / kWarp] = value;
  __syncthreads();
  Weight total = 0;
  for (int warp = 0; warp < kWarps; ++warp) total += shared.of_warp[0][warp];
  __syncthreads();
  return total;
}

// The sum over the threads before this one, and over all.
struct Place {
  Weight before;
  Weight total;
};
__device__ Place block_place(Weight value, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  Weight up_to = value;
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const Weight lower = __shfl_up_sync(kAll, up_to, lanes);
    if (lane >= lanes) up_to += lower;
  }
  if (lane == kWarp - 1) shared.of_warp[0][warp] = up_to;
  __syncthreads();
  Place place{up_to - value, 0};
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) place.before += shared.of_warp[0][w];
    place.total += shared.of_warp[0][w];
  }
  __syncthreads();
  return place;
}

struct Largest {
  float logit;  // NaN where no token can be chosen
  int id;       // the lowest one
};
__device__ Largest find_largest(const Row& row, Shared& shared) {
  constexpr Weight kBad = ~Weight{0};
  Weight most = 0;
  for_each_own(row, [&](int id, float logit) {
    const Weight packed = static_cast<Weight>(key_of(logit)) << 32 | ~static_cast<uint32_t>(id);
    most = max(most, logit < INFINITY ? packed : kBad);  // NaN is not below infinity
  });
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) most = max(most, __shfl_xor_sync(kAll, most, lanes));
  if (threadIdx.x % kWarp == 0) shared.of_warp[0][threadIdx.x / kWarp] = most;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) most = max(most, shared.of_warp[0][warp]);
  __syncthreads();
  const float logit = logit_of(static_cast<uint32_t>(most >> 32));
  const bool can_be_chosen = most != kBad && logit > -INFINITY;
  return {can_be_chosen ? logit : NAN, static_cast<int>(~static_cast<uint32_t>(most))};
}

// The largest key whose tokens, with those of larger ones, reach `target` among those that `within` keeps.
template <typename Measure>
__device__ uint32_t key_to_reach(const Row& row, const Cut& within, const Measure& measure, Weight target,
                                 Shared& shared) {
  uint32_t key = 0;
  for (int shift = 29;; shift = max(shift - 3, 0)) {
    Weight sums[kDigits - 1] = {};  // of keys from key + (digit << shift) on, for digits from 1 on
    for_each_own(row, [&](int id, float logit) {
      const uint32_t of = key_of(logit);
      if (of < key + (1U << shift) || !within.keeps(of, id)) return;
      const Weight weight = measure(logit);
#pragma unroll
      for (uint32_t digit = 1; digit < kDigits; ++digit) sums[digit - 1] += of >= key + (digit << shift) ? weight : 0;
    });
#pragma unroll
    for (int d = 0; d < kDigits - 1; ++d) {
      const Weight sum = warp_total(sums[d]);
      if (threadIdx.x % kWarp == 0) shared.of_warp[d][threadIdx.x / kWarp] = sum;
    }
    __syncthreads();
    uint32_t digit = 0;
    for (int d = 0; d < kDigits - 1; ++d) {
      Weight sum = 0;
      for (int warp = 0; warp < kWarps; ++warp) sum += shared.of_warp[d][warp];
      if (sum >= target) ++digit;
    }
    __syncthreads();
    key += digit << shift;
    if (shift == 0) return key;
  }
}

// The fewest tokens, in order, that reach `target` >= 1 among those that `within` keeps. REQUIRES: all of these do.
template <typename Measure>
__device__ Cut cut_to_reach(const Row& row, const Cut& within, const Measure& measure, Weight target, Shared& shared) {
  const uint32_t key = key_to_reach(row, within, measure, target, shared);
  Weight above = 0;
  int own = 0;  // tokens with this key
  for_each_own(row, [&](int id, float logit) {
    const uint32_t of = key_of(logit);
    if (of < key || !within.keeps(of, id)) return;
    if (of == key) {
      ++own;
    } else {
      above += measure(logit);
    }
  });
  above = block_total(above, shared);
  const Weight each = measure(logit_of(key));
  const Weight wanted = (target - above + each - 1) / each;
  const Place place = block_place(static_cast<Weight>(own), shared);
  if (wanted >= place.total) return {key, key == within.key ? within.last : INT_MAX};
  if (place.before < wanted && wanted <= place.before + own) {
    Weight rank = place.before;
    for_each_own(row, [&](int id, float logit) {
      const uint32_t of = key_of(logit);
      if (of == key && within.keeps(of, id) && ++rank == wanted) shared.token = id;
    });
  }
  __syncthreads();
  const Cut cut{key, shared.token};
  __syncthreads();
  return cut;
}

__device__ int draw_token(const Row& row, const SampleSpec& spec, float largest, Shared& shared) {
  const Weigh weigh{largest, spec.temperature};
  Cut cut;
  if (spec.top_k > 0 && spec.top_k < row.vocab) {
    cut = cut_to_reach(row, cut, Count{}, static_cast<Weight>(spec.top_k), shared);
  }
  const auto kept_weight = [&](int id, float logit) { return cut.keeps(key_of(logit), id) ? weigh(logit) : 0; };
  if (spec.top_p > 0) {
    Weight kept = 0;
    for_each_own(row, [&](int id, float logit) { kept += kept_weight(id, logit); });
    const Weight target = __umul64hi(block_total(kept, shared), spec.top_p);
    cut = cut_to_reach(row, cut, weigh, max(target, Weight{1}), shared);
  }
  Weight own = 0;
  for_each_own(row, [&](int id, float logit) {
    const Weight weight = kept_weight(id, logit);
    if (weight >= spec.min_weight) own += weight;
  });
  const Place place = block_place(own, shared);
  const Weight target = __umul64hi(place.total, spec.draw);
  if (place.before <= target && target < place.before + own) {
    Weight sum = place.before;
    bool chosen = false;
    for_each_own(row, [&](int id, float logit) {
      const Weight weight = kept_weight(id, logit);
      if (weight >= spec.min_weight) sum += weight;
      if (sum > target && !chosen) shared.token = id;
      chosen = sum > target;
    });
  }
  __syncthreads();
  const int token = shared.token;
  __syncthreads();
  return token;
}

// Writes the most probable tokens in order.
__device__ void list_tokens(const Row& row, int count, TokenLogit* out, Shared& shared) {
  const Cut cut = cut_to_reach(row, Cut{}, Count{}, static_cast<Weight>(count), shared);
  int own = 0;
  for_each_own(row, [&](int id, float logit) { own += cut.keeps(key_of(logit), id) ? 1 : 0; });
  auto at = static_cast<int>(block_place(static_cast<Weight>(own), shared).before);
  for_each_own(row, [&](int id, float logit) {
    if (!cut.keeps(key_of(logit), id)) return;
    shared.listed_ids[at] = id;
    shared.listed_logits[at++] = logit;
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const float logit = shared.listed_logits[i];
    int rank = 0;  // ids rise in the list
    for (int j = 0; j < count; ++j) {
      const float other = shared.listed_logits[j];
      if (other > logit || (other == logit && j < i)) ++rank;
    }
    out[rank] = {shared.listed_ids[i], logit};
  }
}

// The row after its edits, in scratch memory.
__device__ Row edit_row(const Row& row, const SampleSpec& spec, const LogitEdit* edits, float* scratch) {
  for_each_own(row, [&](int id, float logit) { scratch[id] = logit; });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < spec.num_edits; i += kThreads) {
    const LogitEdit edit = edits[spec.first_edit + i];
    float logit = __fadd_rn(scratch[edit.token_id], edit.bias);
    logit = logit > 0.0F ? __fdiv_rn(logit, edit.repetition) : __fmul_rn(logit, edit.repetition);
    scratch[edit.token_id] = __fsub_rn(logit, edit.penalty);
  }
  __syncthreads();
  return {scratch, row.vocab};
}

__global__ void __launch_bounds__(kThreads, 2) sample_kernel(SampleArgs a) {
  __shared__ Shared shared;
  const SampleSpec spec = a.samples[blockIdx.x];
  const Row raw{a.logits + static_cast<int64_t>(spec.row) * a.vocab, a.vocab};
  Row row = raw;
  if (spec.num_edits > 0) row = edit_row(raw, spec, a.edits, a.edited + static_cast<int64_t>(blockIdx.x) * a.vocab);

  std::byte* out = a.out + static_cast<int64_t>(blockIdx.x) * a.stride;
  SampledRow answer;
  Largest largest = find_largest(row, shared);
  if (isnan(largest.logit)) {
    answer.largest = NAN;
    if (threadIdx.x == 0) *reinterpret_cast<SampledRow*>(out) = answer;
    return;
  }
  answer.token_id = spec.given >= 0         ? spec.given
                    : spec.temperature == 0 ? largest.id
                                            : draw_token(row, spec, largest.logit, shared);
  answer.logit = raw.logits[answer.token_id];
  if (spec.num_top >= 0) {
    if (spec.num_edits > 0) largest = find_largest(raw, shared);
    answer.largest = largest.logit;
    const Weigh weigh{largest.logit, 1.0F};
    Weight own = 0;
    for_each_own(raw, [&](int, float logit) { own += weigh(logit); });
    answer.total = block_total(own, shared);
    if (spec.num_top > 0) list_tokens(raw, spec.num_top, reinterpret_cast<TokenLogit*>(out + sizeof(answer)), shared);
  }
  if (threadIdx.x == 0) *reinterpret_cast<SampledRow*>(out) = answer;
}

}  // namespace

void sample(const SampleArgs& args, cudaStream_t stream) {
  if (args.num_samples == 0) return;
  sample_kernel<<<static_cast<unsigned>(args.num_samples), kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace octet::cuda
