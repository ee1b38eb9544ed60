// Devices, memory and transfers of the CUDA backend.
#include "kernels/cuda/cuda_backend.h"

#include <cstring>

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/row_kernels.h"

namespace octet {

int CudaBackend::num_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // no driver is no error of later calls
  return 0;
}

Result<std::unique_ptr<Backend>> CudaBackend::create(int device) {
  const int count = num_devices();
  if (count == 0) {
    return invalid_input("--device cuda: no GPU is usable here (nvidia-smi shows driver and devices); --device cpu");
  }
  if (device >= count) return invalid_input("--device cuda: GPU {} is wanted, this host has {}", device, count);
  cudaDeviceProp properties{};
  OCTET_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  if (properties.major < 8) {
    return invalid_input("--device cuda: {} has compute capability {}.{}; 8.0 or newer is needed", properties.name,
                         properties.major, properties.minor);
  }
  return std::unique_ptr<Backend>(
      new CudaBackend(device, fmt::format("cuda ({})", properties.name), properties.multiProcessorCount));
}

CudaBackend::CudaBackend(int device, std::string name, int num_multiprocessors)
    : device_(device), name_(std::move(name)), num_multiprocessors_(num_multiprocessors), loader_(device) {}

Status CudaBackend::check_model(const ModelNeeds& needs) const {
  if (needs.weights != DType::kBF16 && needs.weights != DType::kF16) {
    return invalid_input(
        "--device cuda keeps weights in one 16-bit type and the file has others: --weights bf16 or f16");
  }
  if (needs.kv != DType::kBF16 && needs.kv != DType::kI8) {
    return invalid_input("--device cuda keeps keys and values in bf16 or int8: --kv-dtype bf16 or int8");
  }
  if (needs.head_dim > cuda::kMaxHeadDim || needs.heads_per_kv_head > cuda::kPrefillTileHeads) {
    return invalid_input(
        "--device cuda takes heads of at most {} elements and {} heads a KV head; the model has {}, {}",
        cuda::kMaxHeadDim, cuda::kPrefillTileHeads, needs.head_dim, needs.heads_per_kv_head);
  }
  return ok_status();
}

int64_t CudaBackend::available_memory() const {
  OCTET_CUDA_CHECK(cudaSetDevice(device_));
  size_t free = 0;
  size_t total = 0;
  OCTET_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<int64_t>(free);
}

CudaStream& CudaBackend::use(Stream& stream) const {
  OCTET_CUDA_CHECK(cudaSetDevice(device_));
  return static_cast<CudaStream&>(stream);
}

Buffer CudaBackend::allocate(size_t bytes) {
  if (bytes == 0) return {};
  OCTET_CUDA_CHECK(cudaSetDevice(device_));
  void* memory = allocate_gpu(bytes);
  OCTET_CUDA_CHECK(cudaMemsetAsync(memory, 0, bytes, loader_.get()));
  loader_.synchronize();
  return {memory, bytes, [device = device_](void* data, size_t) {
            OCTET_CUDA_CHECK(cudaSetDevice(device));
            OCTET_CUDA_CHECK(cudaFree(data));
          }};
}

Buffer CudaBackend::allocate_host(size_t bytes) {
  if (bytes == 0) return {};
  OCTET_CUDA_CHECK(cudaSetDevice(device_));
  void* memory = nullptr;
  OCTET_CUDA_CHECK(cudaMallocHost(&memory, bytes));
  std::memset(memory, 0, bytes);
  return {memory, bytes, [](void* data, size_t) { OCTET_CUDA_CHECK(cudaFreeHost(data)); }};
}

void CudaBackend::upload(const void* host, TensorView destination, Stream& stream) {
  use(stream).upload(host, destination.data, static_cast<size_t>(destination.num_bytes()));
}

void CudaBackend::download(TensorView source, void* host, Stream& stream) {
  CudaStream& on = use(stream);
  if (source.num_bytes() == 0) return;
  OCTET_CUDA_CHECK(
      cudaMemcpyAsync(host, source.data, static_cast<size_t>(source.num_bytes()), cudaMemcpyDeviceToHost, on.get()));
}

void CudaBackend::copy(TensorView source, TensorView destination, Stream& stream) {
  OCTET_CHECK(source.dtype == destination.dtype && source.num_elements() == destination.num_elements());
  CudaStream& on = use(stream);
  if (source.num_bytes() == 0) return;
  OCTET_CUDA_CHECK(cudaMemcpyAsync(destination.data, source.data, static_cast<size_t>(source.num_bytes()),
                                   cudaMemcpyDeviceToDevice, on.get()));
}

void CudaBackend::convert(TensorView source, TensorView destination, Stream& stream) {
  OCTET_CHECK(source.num_elements() == destination.num_elements());
  CudaStream& on = use(stream);
  if (source.dtype == DType::kF32) {
    OCTET_CHECK(destination.dtype == DType::kBF16);
    cuda::f32_to_bf16(source.as<float>(), destination.data, source.num_elements(), on.get());
  } else {
    OCTET_CHECK(source.dtype == DType::kBF16);
    cuda::bf16_to_f32(source.data, destination.as<float>(), source.num_elements(), on.get());
  }
}

void CudaBackend::round_to_bf16(TensorView x, Stream& stream) {
  cuda::round_to_bf16(x.as<float>(), x.num_elements(), use(stream).get());
}

}  // namespace octet
