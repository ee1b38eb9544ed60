// Integer dot products of AVX-512 VNNI: so far their ceiling alone.
#include <immintrin.h>

#include "kernels/cpu/kernel_table.h"

namespace octet {

int64_t vnni_dot_loop(int64_t iterations) {
  constexpr int kChains = 12;
  __m512i sums[kChains];
#pragma GCC unroll 12
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  const __m512i factor = _mm512_set1_epi8(1);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (__m512i& sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, factor, factor);
      asm volatile("" : "+v"(sum));  // equal chains must not become one
    }
  }
  return iterations * kChains * 64 * 2;
}

}  // namespace octet
