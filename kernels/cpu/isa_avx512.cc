// Kernels of AVX-512 (F, BW, DQ, VL). Compiled with the flags of that instruction set: it includes nothing whose inline
// functions other translation units could end up calling.
#include <immintrin.h>

#include "kernels/cpu/kernel_table.h"

namespace octet {
namespace {

// 16 fp32 lanes in one register.
struct Vec {
  static constexpr int kLanes = 16;
  using Float = __m512;
  using Int = __m512i;

  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static Float load_first(const float* p, int64_t count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static void store_first(float* p, int64_t count, Float v) { _mm512_mask_storeu_ps(p, first(count), v); }
  static Float set1(float v) { return _mm512_set1_ps(v); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float round(Float v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // 2^n of integral n in [-126, 127].
  static Float power_of_two(Float n) {
    const Int biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23));
  }
  // a < b ? yes : no.
  static Float select_less(Float a, Float b, Float yes, Float no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
  }
  // Lanes [begin, end) of `inside`, others of `outside`.
  static Float select_range(int64_t begin, int64_t end, Float inside, Float outside) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(first(end) & ~first(begin)), outside, inside);
  }

  static Int load_u32(const std::byte* p) { return _mm512_loadu_si512(p); }
  static Float low_bf16(Int pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
  static Float high_bf16(Int pairs) {
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static Float load_bf16(const std::byte* p) {
    return low_bf16(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  static Float load_f16(const std::byte* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Float load_i8(const std::byte* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  // To the nearest bf16, ties to even, as fp32; NaN stays NaN.
  static Float round_bf16(Float v) {
    const Int bits = _mm512_castps_si512(v);
    const Int odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const Int rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const Int quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const Int chosen = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), rounded, quiet);
    return _mm512_castsi512_ps(_mm512_and_si512(chosen, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  // The upper 16 bits of every lane.
  static void store_high_halves(std::byte* p, Float v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(v), 16)));
  }

  // Combines lane i with lane i + 8, then i + 4, i + 2, i + 1.
  template <typename Combine>
  static float reduce(Float v, const Combine& combine) {
    v = combine(v, _mm512_shuffle_f32x4(v, v, _MM_SHUFFLE(1, 0, 3, 2)));
    v = combine(v, _mm512_shuffle_f32x4(v, v, _MM_SHUFFLE(2, 3, 0, 1)));
    v = combine(v, _mm512_permute_ps(v, _MM_SHUFFLE(1, 0, 3, 2)));
    v = combine(v, _mm512_permute_ps(v, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm512_cvtss_f32(v);
  }

  static __mmask16 first(int64_t count) {
    return static_cast<__mmask16>(count >= kLanes ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
  }
};

// Rows of the largest register tile: 28 accumulators, two weight vectors and a broadcast of the 32 registers.
constexpr int kTileRows = 14;
// Vectors of columns that a panel's register tile spans.
constexpr int kPanelVectors = 2;
// Packed column blocks that a tile keeps in flight, so that enough independent chains hide the latency of a
// multiply-add, and the pairs of vectors of each.
constexpr int blocks_in_flight(int rows) { return rows <= 3 ? 2 : 1; }
constexpr int pairs_in_flight(int) { return 1; }

}  // namespace
}  // namespace octet

#include "kernels/cpu/isa_inl.h"
#include "kernels/cpu/isa_int8_inl.h"

namespace octet {
namespace {

struct Dot {
  using Int = __m512i;
  static Int load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Int v) { _mm512_storeu_si512(p, v); }
  static Int add(Int sum, Int a, Int b) {
    const Int pairs = _mm512_maddubs_epi16(a, b);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
};

}  // namespace

const KernelTable& avx512_kernels() {
  static constexpr KernelTable kTable = make_table();
  return kTable;
}

int64_t avx512bw_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums) {
  return int8_loop<Dot>(a, b, iterations, sums);
}

}  // namespace octet
