// Kernels of AVX2 with FMA and F16C. Compiled with the flags of that instruction set: it includes nothing whose inline
// functions other translation units could end up calling.
#include <immintrin.h>

#include "kernels/cpu/kernel_table.h"

namespace octet {
namespace {

// 8 fp32 lanes in one register.
struct Vec {
  static constexpr int kLanes = 8;
  using Float = __m256;
  using Int = __m256i;

  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static Float load_first(const float* p, int64_t count) { return _mm256_maskload_ps(p, first(count)); }
  static void store_first(float* p, int64_t count, Float v) { _mm256_maskstore_ps(p, first(count), v); }
  static Float set1(float v) { return _mm256_set1_ps(v); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static Float round(Float v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n of integral n in [-126, 127].
  static Float power_of_two(Float n) {
    const Int biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
  // a < b ? yes : no.
  static Float select_less(Float a, Float b, Float yes, Float no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  // Lanes [begin, end) of `inside`, others of `outside`.
  static Float select_range(int64_t begin, int64_t end, Float inside, Float outside) {
    const Int mask = _mm256_andnot_si256(first(begin), first(end));
    return _mm256_blendv_ps(outside, inside, _mm256_castsi256_ps(mask));
  }

  static Int load_u32(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Float low_bf16(Int pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
  static Float high_bf16(Int pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static Float load_bf16(const std::byte* p) {
    return low_bf16(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Float load_f16(const std::byte* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Float load_i8(const std::byte* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  // To the nearest bf16, ties to even, as fp32; NaN stays NaN.
  static Float round_bf16(Float v) {
    const Int bits = _mm256_castps_si256(v);
    const Int odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const Int rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const Int quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const Int is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const Int chosen = _mm256_blendv_epi8(rounded, quiet, is_nan);
    return _mm256_castsi256_ps(_mm256_and_si256(chosen, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  // The upper 16 bits of every lane.
  static void store_high_halves(std::byte* p, Float v) {
    const Int halves = _mm256_srli_epi32(_mm256_castps_si256(v), 16);
    const Int pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(pairs));
  }

  // Combines lane i with lane i + 4, then i + 2, i + 1.
  template <typename Combine>
  static float reduce(Float v, const Combine& combine) {
    v = combine(v, _mm256_permute2f128_ps(v, v, 1));
    v = combine(v, _mm256_permute_ps(v, _MM_SHUFFLE(1, 0, 3, 2)));
    v = combine(v, _mm256_permute_ps(v, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm256_cvtss_f32(v);
  }

  static Int first(int64_t count) {
    const int clamped = count >= kLanes ? kLanes : count <= 0 ? 0 : static_cast<int>(count);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(clamped), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

// Rows of the largest register tile: 12 accumulators, two weight vectors and a broadcast of the 16 registers.
constexpr int kTileRows = 6;
// Vectors of columns that a panel's register tile spans.
constexpr int kPanelVectors = 2;
// Packed column blocks that a tile keeps in flight, so that enough independent chains hide the latency of a
// multiply-add, and the pairs of vectors of each: of more than three rows the sums of a whole block do not fit into the
// registers.
constexpr int blocks_in_flight(int rows) { return rows == 1 ? 2 : 1; }
constexpr int pairs_in_flight(int rows) { return rows <= 3 ? 2 : 1; }

}  // namespace
}  // namespace octet

#include "kernels/cpu/isa_inl.h"
#include "kernels/cpu/isa_int8_inl.h"

namespace octet {
namespace {

struct Dot {
  using Int = __m256i;
  static Int load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(void* p, Int v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static Int add(Int sum, Int a, Int b) {
    const Int pairs = _mm256_maddubs_epi16(a, b);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace

const KernelTable& avx2_kernels() {
  static constexpr KernelTable kTable = make_table();
  return kTable;
}

int64_t avx2_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums) {
  return int8_loop<Dot>(a, b, iterations, sums);
}

}  // namespace octet
