// Sampling of the CUDA backend.
#include <algorithm>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/sampling_kernels.h"

namespace octet {

void CudaBackend::copy_columns(TensorView source, TensorView out, int64_t first_column, Stream& stream) {
  OCTET_CHECK(first_column + source.row_elements() <= out.row_elements());
  CudaStream& on = use(stream);
  if (source.num_elements() == 0) return;
  const auto pitch = [](TensorView view) { return static_cast<size_t>(view.row_elements()) * sizeof(float); };
  OCTET_CUDA_CHECK(cudaMemcpy2DAsync(out.as<float>() + first_column, pitch(out), source.data, pitch(source),
                                     pitch(source), static_cast<size_t>(source.rows()), cudaMemcpyDeviceToDevice,
                                     on.get()));
}

void CudaBackend::sample(TensorView logits, const SamplingBatch& batch, TensorView out, Stream& stream) {
  // Choices of one launch: what bounds the memory of rows with edits.
  constexpr int64_t kMostAtOnce = 128;
  const int64_t vocab = logits.row_elements();
  OCTET_CHECK(vocab <= kMaxSampledVocab && out.rows() == batch.size());
  OCTET_CHECK(batch.most_top() <= cuda::kMaxListed, "{} tokens to list", batch.most_top());
  CudaStream& on = use(stream);
  if (batch.size() == 0) return;
  const size_t sample_bytes = batch.samples.size() * sizeof(SampleSpec);
  const size_t edit_bytes = batch.edits.size() * sizeof(LogitEdit);
  auto* memory = static_cast<std::byte*>(on.scratch(CudaStream::Scratch::kSampling, sample_bytes + edit_bytes));
  on.upload(batch.samples.data(), memory, sample_bytes);
  if (edit_bytes > 0) on.upload(batch.edits.data(), memory + sample_bytes, edit_bytes);
  const auto edited_rows = static_cast<size_t>(batch.edits.empty() ? 0 : std::min(batch.size(), kMostAtOnce));
  cuda::SampleArgs args{.logits = logits.as<float>(),
                        .samples = reinterpret_cast<const SampleSpec*>(memory),
                        .edits = reinterpret_cast<const LogitEdit*>(memory + sample_bytes),
                        .edited = static_cast<float*>(on.scratch(
                            CudaStream::Scratch::kRows, edited_rows * static_cast<size_t>(vocab) * sizeof(float))),
                        .out = static_cast<std::byte*>(out.data),
                        .stride = out.row_elements(),
                        .num_samples = 0,
                        .vocab = static_cast<int>(vocab)};
  for (int64_t begin = 0; begin < batch.size(); begin += kMostAtOnce) {
    args.num_samples = static_cast<int>(std::min(batch.size() - begin, kMostAtOnce));
    cuda::sample(args, on.get());
    args.samples += args.num_samples;
    args.out += args.num_samples * args.stride;
  }
}

}  // namespace octet
