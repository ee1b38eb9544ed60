// Integer dot products of AVX-VNNI, in 256 bits: so far their ceiling alone.
#include <immintrin.h>

#include "kernels/cpu/isa_int8_inl.h"

namespace octet {
namespace {

struct Dot {
  using Int = __m256i;
  static Int load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void store(void* p, Int v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static Int add(Int sum, Int a, Int b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
};

}  // namespace

int64_t avx_vnni_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums) {
  return int8_loop<Dot>(a, b, iterations, sums);
}

}  // namespace octet
