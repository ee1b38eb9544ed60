// What the software GPU has done so far (tests/softgpu/README.md, "Counting").
#pragma once

#include <dlfcn.h>

namespace octet {

// Of device 0: kernels, "gemm", "grouped-gemm", …; 0 on a real GPU.
inline unsigned long long softgpu_executed(const char* what) {
  using Count = unsigned long long (*)(const char*, int, const char*, unsigned long long*);
  const auto count = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "softgpu_count"));
  return count == nullptr ? 0 : count("executed", 0, what, nullptr);
}

}  // namespace octet
