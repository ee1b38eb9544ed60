// What the tests of the CUDA backend share: the backend, and host tensors carried to the device and back.
#pragma once

#include "kernels/cuda/cuda_backend.h"
#include "tests/kernels/kernels_fixture.h"

namespace octet {

class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = CudaBackend::create(0);
    ASSERT_TRUE(made.ok()) << made.status().message();
    backend_ = *std::move(made);
    stream_ = backend_->make_stream();
  }

  // A copy on the device.
  Tensor device(TensorView host) {
    Tensor tensor = backend_->allocate_tensor(host.dtype, host.shape);
    backend_->upload(host.data, tensor.view, *stream_);
    return tensor;
  }
  Tensor device(const Tensor& host) { return device(host.view); }
  Tensor device_zeros(DType dtype, Shape shape) { return backend_->allocate_tensor(dtype, shape); }

  // A copy on the host; waits for the work so far.
  Tensor host(TensorView on_device) {
    Tensor tensor = Tensor::host(on_device.dtype, on_device.shape);
    backend_->download(on_device, tensor.view.data, *stream_);
    stream_->synchronize();
    return tensor;
  }
  Tensor host(const Tensor& on_device) { return host(on_device.view); }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  ReferenceBackend reference_;
  HostStream host_stream_;
};

}  // namespace octet
