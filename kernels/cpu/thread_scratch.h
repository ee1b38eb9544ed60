// Working memory of the threads of a pool, kept from call to call.
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/base/tensor.h"

namespace octet {

class ThreadScratch {
 public:
  explicit ThreadScratch(int num_threads) : buffers_(static_cast<size_t>(num_threads)) {}

  // Gives every thread room for `count` floats; only ever grows. What was there is lost.
  void reserve(int64_t count) {
    if (count <= capacity_) return;
    for (Buffer& buffer : buffers_) buffer = Buffer::host(static_cast<size_t>(count) * sizeof(float));
    capacity_ = count;
  }
  // Aligned to 64 bytes.
  float* of(int thread) const { return reinterpret_cast<float*>(buffers_[static_cast<size_t>(thread)].data()); }

 private:
  std::vector<Buffer> buffers_;
  int64_t capacity_ = 0;
};

}  // namespace octet
