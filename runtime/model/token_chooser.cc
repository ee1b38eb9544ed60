#include "runtime/model/token_chooser.h"

namespace octet {

SampledRows TokenChooser::choose(const SamplingBatch& batch, TensorView logits, Stream& stream) {
  const int64_t num_top = batch.most_top();
  const Shape shape{batch.size(), SampledRows::stride(num_top)};
  if (shape.num_elements() > answers_.view.num_bytes()) {
    answers_ = backend_.allocate_tensor(DType::kI8, {shape.num_elements()});
    if (has_own_memory()) host_answers_ = backend_.allocate_host_tensor(DType::kI8, {shape.num_elements()});
  }
  const TensorView answers{answers_.view.data, DType::kI8, shape};
  if (batch.size() > 0) backend_.sample(logits, batch, answers, stream);
  if (!has_own_memory()) return {static_cast<std::byte*>(answers.data), num_top};
  backend_.download(answers, host_answers_.view.data, stream);
  return {static_cast<std::byte*>(host_answers_.view.data), num_top};
}

}  // namespace octet
