// Steps recorded as CUDA graphs.
#include <utility>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_check.h"

namespace octet {
namespace {

class CudaCapturedStep final : public CapturedStep {
 public:
  CudaCapturedStep(CudaStream& stream, const std::function<void()>& enqueue) {
    cudaGraph_t graph = stream.capture(enqueue, host_works_);
    OCTET_CUDA_CHECK(cudaGraphInstantiate(&executable_, graph, 0));
    OCTET_CUDA_CHECK(cudaGraphDestroy(graph));
  }
  CudaCapturedStep(const CudaCapturedStep&) = delete;
  CudaCapturedStep& operator=(const CudaCapturedStep&) = delete;
  ~CudaCapturedStep() override { OCTET_CUDA_CHECK(cudaGraphExecDestroy(executable_)); }

  void replay(Stream& stream) override {
    for (const std::function<void()>& host_work : host_works_) host_work();
    OCTET_CUDA_CHECK(cudaGraphLaunch(executable_, static_cast<CudaStream&>(stream).get()));
  }

 private:
  std::vector<std::function<void()>> host_works_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace

std::unique_ptr<CapturedStep> CudaBackend::capture(Stream& stream, const std::function<void()>& enqueue) {
  return std::make_unique<CudaCapturedStep>(use(stream), enqueue);
}

}  // namespace octet
