#include "kernels/cuda/cuda_stream.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cuda/cuda_check.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

// What NVIDIA recommends for its largest device so far (cuBLAS documentation, cublasSetWorkspace).
constexpr size_t kBlasWorkspace = size_t{32} << 20;
constexpr size_t kPinnedAlignment = 64;

}  // namespace

CudaStream::CudaStream(int device) : device_(device) {
  OCTET_CUDA_CHECK(cudaSetDevice(device_));
  OCTET_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

CudaStream::~CudaStream() {
  OCTET_CUDA_CHECK(cudaSetDevice(device_));
  OCTET_CUDA_CHECK(cudaStreamSynchronize(stream_));
  if (blas_ != nullptr) OCTET_CUBLAS_CHECK(cublasDestroy(blas_));
  for (void* memory : owned_) OCTET_CUDA_CHECK(cudaFree(memory));
  for (const Piece& piece : pieces_) {
    if (piece.memory == nullptr) continue;
    OCTET_CUDA_CHECK(cudaFreeHost(piece.memory));
    OCTET_CUDA_CHECK(cudaEventDestroy(piece.read));
  }
  if (reached_ != nullptr) OCTET_CUDA_CHECK(cudaEventDestroy(reached_));
  OCTET_CUDA_CHECK(cudaStreamDestroy(stream_));
}

void CudaStream::synchronize() { OCTET_CUDA_CHECK(cudaStreamSynchronize(stream_)); }

void CudaStream::wait_for(Stream& other) {
  auto& before = static_cast<CudaStream&>(other);
  if (before.reached_ == nullptr) {
    OCTET_CUDA_CHECK(cudaEventCreateWithFlags(&before.reached_, cudaEventDisableTiming));
  }
  OCTET_CUDA_CHECK(cudaEventRecord(before.reached_, before.stream_));
  OCTET_CUDA_CHECK(cudaStreamWaitEvent(stream_, before.reached_, 0));
  host_works_ = before.host_works_;  // of the capture that this stream has joined, or none
}

double CudaStream::time(const std::function<void()>& enqueue) {
  cudaEvent_t begin = nullptr, end = nullptr;
  OCTET_CUDA_CHECK(cudaEventCreate(&begin));
  OCTET_CUDA_CHECK(cudaEventCreate(&end));
  OCTET_CUDA_CHECK(cudaEventRecord(begin, stream_));
  enqueue();
  OCTET_CUDA_CHECK(cudaEventRecord(end, stream_));
  OCTET_CUDA_CHECK(cudaEventSynchronize(end));
  float milliseconds = 0;
  OCTET_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
  OCTET_CUDA_CHECK(cudaEventDestroy(begin));
  OCTET_CUDA_CHECK(cudaEventDestroy(end));
  return milliseconds * 1e-3;
}

bool CudaStream::at_replay(std::function<void()> host_work) {
  if (host_works_ == nullptr) return false;
  host_works_->push_back(std::move(host_work));
  return true;
}

cudaGraph_t CudaStream::capture(const std::function<void()>& enqueue, std::vector<std::function<void()>>& host_works) {
  host_works_ = &host_works;
  OCTET_CUDA_CHECK(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  enqueue();
  cudaGraph_t graph = nullptr;
  OCTET_CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
  host_works_ = nullptr;
  return graph;
}

void CudaStream::upload(const void* host, void* device, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const size_t part = std::min(bytes - done, kPinnedPiece);
    std::byte* pinned = reserve_pinned(part);
    std::memcpy(pinned, static_cast<const std::byte*>(host) + done, part);
    upload_pinned(pinned, static_cast<std::byte*>(device) + done, part);
    done += part;
  }
}

std::byte* CudaStream::reserve_pinned(size_t bytes) {
  OCTET_CHECK(bytes <= kPinnedPiece, "{} bytes", bytes);
  if (pieces_[0].memory == nullptr) {
    for (Piece& piece : pieces_) {
      OCTET_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&piece.memory), kPinnedPiece));
      OCTET_CUDA_CHECK(cudaEventCreateWithFlags(&piece.read, cudaEventDisableTiming));
    }
  }
  if (piece_used_ + bytes > kPinnedPiece) {
    OCTET_CUDA_CHECK(cudaEventRecord(pieces_[piece_].read, stream_));
    piece_ = (piece_ + 1) % pieces_.size();
    piece_used_ = 0;
    OCTET_CUDA_CHECK(cudaEventSynchronize(pieces_[piece_].read));
  }
  std::byte* memory = pieces_[piece_].memory + piece_used_;
  piece_used_ =
      std::min(kPinnedPiece, (piece_used_ + bytes + kPinnedAlignment - 1) / kPinnedAlignment * kPinnedAlignment);
  return memory;
}

void CudaStream::upload_pinned(const std::byte* pinned, void* device, size_t bytes) {
  if (bytes > 0) OCTET_CUDA_CHECK(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream_));
}

void* CudaStream::scratch(Scratch purpose, size_t bytes) {
  Area& area = scratch_[static_cast<size_t>(purpose)];
  if (bytes > area.size) {
    area.size = std::bit_ceil(bytes);
    area.memory = allocate_gpu(area.size);
    owned_.push_back(area.memory);
  }
  return area.memory;
}

cublasHandle_t CudaStream::blas() {
  if (blas_ != nullptr) return blas_;
  OCTET_CUBLAS_CHECK(cublasCreate(&blas_));
  OCTET_CUBLAS_CHECK(cublasSetStream(blas_, stream_));
  void* workspace = allocate_gpu(kBlasWorkspace);
  owned_.push_back(workspace);
  OCTET_CUBLAS_CHECK(cublasSetWorkspace(blas_, workspace, kBlasWorkspace));
  return blas_;
}

}  // namespace octet
