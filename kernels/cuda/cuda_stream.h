// CudaStream: a CUDA stream and the memory that goes with it: pinned memory that uploads pass through, scratch memory
// of the operations enqueued here, and cuBLAS. One thread at a time uses a stream; operations on different streams
// share nothing.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <functional>
#include <vector>

#include "runtime/base/device.h"

namespace octet {

class CudaStream final : public Stream {
 public:
  // What scratch memory is for; each purpose has memory of its own.
  enum class Scratch { kRows, kOutputs, kAddresses, kPartials, kBatch, kSampling, kNumScratch };
  // Most bytes of one reserve_pinned.
  static constexpr size_t kPinnedPiece = size_t{2} << 20;

  explicit CudaStream(int device);
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() override;

  void synchronize() override;
  void wait_for(Stream& other) override;
  void* native_handle() override { return stream_; }
  cudaStream_t get() const { return stream_; }
  double time(const std::function<void()>& enqueue) override;  // by events of the device
  bool at_replay(std::function<void()> host_work) override;
  // Records what `enqueue` enqueues here; host_works: what was handed to at_replay meanwhile. The graph is the
  // caller's.
  cudaGraph_t capture(const std::function<void()>& enqueue, std::vector<std::function<void()>>& host_works);

  // Reads `bytes` at `host` before it returns; they reach `device` in the stream's order.
  void upload(const void* host, void* device, size_t bytes);
  // Pinned memory to fill and to hand to upload_pinned. Waits while copies from it are under way. At most
  // kPinnedPiece bytes; valid until the next call.
  std::byte* reserve_pinned(size_t bytes);
  // Enqueues the copy of memory that reserve_pinned gave.
  void upload_pinned(const std::byte* pinned, void* device, size_t bytes);

  // Device memory, not initialised, that the next operation with this purpose uses again. Outgrown memory is kept, for
  // a recorded graph may name it; in steady state nothing is allocated.
  void* scratch(Scratch purpose, size_t bytes);
  // cuBLAS bound to this stream, with a workspace of its own.
  cublasHandle_t blas();

 private:
  struct Piece {
    std::byte* memory = nullptr;
    cudaEvent_t read = nullptr;  // the copies from it are done
  };
  struct Area {
    void* memory = nullptr;
    size_t size = 0;
  };

  int device_;
  std::vector<std::function<void()>>* host_works_ = nullptr;  // of the capture under way
  cudaStream_t stream_ = nullptr;
  cudaEvent_t reached_ = nullptr;  // recorded here for those that wait for this stream
  std::array<Piece, 2> pieces_;
  size_t piece_ = 0;       // that is being filled
  size_t piece_used_ = 0;  // bytes of it
  std::array<Area, static_cast<size_t>(Scratch::kNumScratch)> scratch_;
  std::vector<void*> owned_;  // device memory
  cublasHandle_t blas_ = nullptr;
};

}  // namespace octet
