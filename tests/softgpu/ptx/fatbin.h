// Finds the PTX that nvcc embedded in a host executable.
#pragma once

#include <string>
#include <vector>

namespace octet::softgpu {

struct PtxImage {
  int architecture;  // 80 for compute_80
  std::string text;
};

// Lists the PTX images behind the wrapper passed to __cudaRegisterFatBinary.
std::vector<PtxImage> extract_ptx(const void* fatbin_wrapper);

}  // namespace octet::softgpu
