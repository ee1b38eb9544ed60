// Inputs of the benchmarks where a backend reads them.
#pragma once

#include "kernels/backend.h"

namespace octet {

// The tensor in the backend's memory: a copy, or, where that is the host's, the same memory, which must outlive it.
inline Tensor to_device(Backend& backend, const Tensor& host) {
  if (backend.memory_kind() == MemoryKind::kHost) return {Buffer(), host.view};
  Tensor copy = backend.allocate_tensor(host.view.dtype, host.view.shape);
  backend.upload_and_wait(host.view.data, copy.view);
  return copy;
}

// A copy in host memory; waits for the stream.
inline Tensor to_host(Backend& backend, TensorView view, Stream& stream) {
  Tensor copy = Tensor::host(view.dtype, view.shape);
  backend.download(view, copy.view.data, stream);
  stream.synchronize();
  return copy;
}

}  // namespace octet
