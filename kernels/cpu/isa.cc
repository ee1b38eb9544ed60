#include "kernels/cpu/isa.h"

#include <cpuid.h>

#include <array>

namespace octet {
namespace {

// Not every compiler's __builtin_cpu_supports knows it.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// Neither GCC 12's nor clang 14's __builtin_cpu_supports knows it. Leaf 7 tells in its first subleaf how many there
// are.
bool has_avx_vnni() {
  constexpr unsigned kBitAvxVnni = 1U << 4;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || eax < 1) return false;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kBitAvxVnni) != 0;
}

std::vector<Int8Instructions> int8_of_avx2() {
  std::vector<Int8Instructions> int8 = {{"avx2", 32, true, avx2_int8_loop}};
  if (has_avx_vnni()) int8.push_back({"avx_vnni", 32, false, avx_vnni_int8_loop});
  return int8;
}

std::vector<Int8Instructions> int8_of_avx512() {
  std::vector<Int8Instructions> int8 = {{"avx512bw", 64, true, avx512bw_int8_loop}};
  if (__builtin_cpu_supports("avx512vnni")) int8.push_back({"avx512_vnni", 64, false, avx512_vnni_int8_loop});
  return int8;
}

// Every instruction set with kernels, worst first. The tests include the operating system's support for the registers.
std::array<Isa, 2> isa_table() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return {{{"avx2", avx2, avx2_kernels, int8_of_avx2()}, {"avx512", avx512, avx512_kernels, int8_of_avx512()}}};
}

}  // namespace

std::string supported_isas() {
  std::string names;
  for (const Isa& isa : isa_table()) {
    if (isa.supported) names += (names.empty() ? "" : ", ") + std::string(isa.name);
  }
  return names.empty() ? "none of avx2, avx512" : names;
}

Result<Isa> find_isa(std::string_view name) {
  Isa best;
  for (const Isa& isa : isa_table()) {
    if (isa.supported && (name.empty() || isa.name == name)) best = isa;
  }
  if (best.supported) return best;
  return invalid_input("--isa {}: this machine has {}", name.empty() ? "avx2" : name, supported_isas());
}

}  // namespace octet
