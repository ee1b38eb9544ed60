#include "kernels/counting_backend.h"

#include <algorithm>
#include <cstdlib>

namespace octet {

Buffer CountingBackend::allocate(size_t bytes) {
  allocated_ += static_cast<int64_t>(bytes);
  return {nullptr, bytes, {}};
}

Buffer CountingBackend::allocate_host(size_t bytes) {
  return device_.memory == MemoryKind::kHost ? allocate(bytes) : Buffer(nullptr, bytes, {});
}

// The cuda backend's: operands and results in 16 bits (kernels/cuda/grouped_blas), each in an area of its own that
// grows to up to twice the size (CudaStream::scratch).
void CountingBackend::add_expert_products(int64_t max_assignments, int64_t hidden, int64_t ffn) {
  if (device_.memory != MemoryKind::kCuda) return;
  const int64_t operands = std::max(hidden, ffn), results = std::max(2 * ffn, hidden);
  allocated_ += 2 * 2 * max_assignments * (operands + results);
}

void CountingBackend::refuse() {
  OCTET_CHECK(false, "a planned device computes nothing");
  std::abort();
}

}  // namespace octet
