// Integer dot products of AVX-512 VNNI: so far their ceiling alone.
#include <immintrin.h>

#include "kernels/cpu/isa_int8_inl.h"

namespace octet {
namespace {

struct Dot {
  using Int = __m512i;
  static Int load(const void* p) { return _mm512_loadu_si512(p); }
  static void store(void* p, Int v) { _mm512_storeu_si512(p, v); }
  static Int add(Int sum, Int a, Int b) { return _mm512_dpbusd_epi32(sum, a, b); }
};

}  // namespace

int64_t avx512_vnni_int8_loop(const uint8_t* a, const int8_t* b, int64_t iterations, int32_t* sums) {
  return int8_loop<Dot>(a, b, iterations, sums);
}

}  // namespace octet
