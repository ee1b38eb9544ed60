#include "kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/cpu/packed_weight.h"

namespace octet {

CpuBackend::CpuBackend(const Isa& isa, int num_threads)
    : kernels_(isa.kernels()), pool_(num_threads), product_(kernels_, pool_), attention_(kernels_, pool_) {
  for (int thread = 0; thread < pool_.num_threads(); ++thread) samplers_.emplace_back(kernels_);
}

Weight CpuBackend::prepare(const WeightSpec& spec) { return pack_weight(spec, pool_); }

void CpuBackend::upload(const void* host, TensorView destination, Stream&) {
  copy_bytes(destination.data, host, destination.num_bytes());
}

void CpuBackend::download(TensorView source, void* host, Stream&) { copy_bytes(host, source.data, source.num_bytes()); }

void CpuBackend::copy(TensorView source, TensorView destination, Stream&) {
  OCTET_CHECK(source.dtype == destination.dtype && source.num_elements() == destination.num_elements());
  copy_bytes(destination.data, source.data, source.num_bytes());
}

void CpuBackend::convert(TensorView source, TensorView destination, Stream&) {
  OCTET_CHECK(source.num_elements() == destination.num_elements());
  const int64_t width = source.row_elements();
  if (source.dtype == DType::kF32) {
    OCTET_CHECK(destination.dtype == DType::kBF16);
    const float* in = source.as<float>();
    auto* out = static_cast<std::byte*>(destination.data);
    for_each_row(source.rows(), width,
                 [&](int64_t r) { kernels_.narrow_bf16(in + r * width, width, out + r * width * 2); });
  } else {
    const auto widen = kernels_.convert[static_cast<size_t>(element_of(source.dtype))];
    const auto* in = static_cast<const std::byte*>(source.data);
    float* out = destination.as<float>();
    for_each_row(source.rows(), width,
                 [&](int64_t r) { widen(in + r * width * dtype_size(source.dtype), width, out + r * width); });
  }
}

void CpuBackend::round_to_bf16(TensorView x, Stream&) {
  const int64_t width = x.row_elements();
  float* values = x.as<float>();
  for_each_row(x.rows(), width, [&](int64_t r) { kernels_.round_bf16(width, values + r * width); });
}

void CpuBackend::embed(TensorView ids, TensorView table, TensorView out, Stream&) {
  const int64_t width = out.row_elements();
  const auto convert = kernels_.convert[static_cast<size_t>(element_of(table.dtype))];
  const auto* rows = static_cast<const std::byte*>(table.data);
  const int32_t* row_ids = ids.as<int32_t>();
  float* destination = out.as<float>();
  for_each_row(out.rows(), width, [&](int64_t r) {
    convert(rows + row_ids[r] * width * dtype_size(table.dtype), width, destination + r * width);
  });
}

void CpuBackend::gather_rows(TensorView source, TensorView row_index, TensorView out, Stream&) {
  const int64_t row_bytes = out.row_elements() * dtype_size(out.dtype);
  const auto* rows = static_cast<const std::byte*>(source.data);
  const int32_t* index = row_index.as<int32_t>();
  auto* destination = static_cast<std::byte*>(out.data);
  for_each_row(out.rows(), out.row_elements(), [&](int64_t r) {
    std::memcpy(destination + r * row_bytes, rows + index[r] * row_bytes, static_cast<size_t>(row_bytes));
  });
}

void CpuBackend::copy_columns(TensorView source, TensorView out, int64_t first_column, Stream&) {
  const int64_t width = source.row_elements();
  const int64_t out_width = out.row_elements();
  OCTET_CHECK(first_column + width <= out_width);
  const float* from = source.as<float>();
  float* to = out.as<float>() + first_column;
  for_each_row(source.rows(), width, [&](int64_t r) { copy_bytes(to + r * out_width, from + r * width, width * 4); });
}

void CpuBackend::add(TensorView x, TensorView delta, Stream&) {
  const int64_t width = x.row_elements();
  float* sums = x.as<float>();
  const float* addends = delta.as<float>();
  for_each_row(x.rows(), width, [&](int64_t r) { kernels_.accumulate(addends + r * width, width, sums + r * width); });
}

void CpuBackend::rms_norm(TensorView x, TensorView weight, float eps, TensorView y, Stream&) {
  const int64_t width = x.row_elements();
  const float* in = x.as<float>();
  const float* factors = weight.as<float>();
  float* out = y.as<float>();
  for_each_row(x.rows(), width,
               [&](int64_t r) { kernels_.rms_norm(in + r * width, factors, eps, width, out + r * width); });
}

void CpuBackend::gemm(TensorView x, const Weight& weight, TensorView y, Stream&) {
  const std::array<int32_t, 2> offsets{0, static_cast<int32_t>(x.rows())};
  product_.run({x.as<float>(), nullptr, offsets, {&weight, 1}, y.as<float>()});
}

void CpuBackend::grouped_gemm(TensorView x, const ExpertGroups& groups, const WeightGroup& experts, TensorView y,
                              Stream&) {
  const int32_t* rows = groups.assignment_row.data == nullptr ? nullptr : groups.assignment_row.as<int32_t>();
  const std::span<const Weight> weights = experts.weights;
  product_.run({x.as<float>(), rows, {groups.offsets.as<int32_t>(), weights.size() + 1}, weights, y.as<float>()});
}

void CpuBackend::paged_attention(TensorView qkv, const PagedBatch& batch, const AttentionShape& shape,
                                 const KvCacheView& cache, TensorView out, Stream&) {
  attention_.run({qkv.as<float>(), batch, shape, cache, out.as<float>()});
}

void CpuBackend::sample(TensorView logits, const SamplingBatch& batch, TensorView out, Stream&) {
  const int64_t vocab = logits.row_elements();
  OCTET_CHECK(vocab <= kMaxSampledVocab && out.rows() == batch.size());
  const SampledRows rows(static_cast<std::byte*>(out.data), SampledRows::num_top(out.row_elements()));
  // All of them now: a thread may get its first row at any later step.
  for (RowSampler& sampler : samplers_) sampler.reserve(static_cast<size_t>(vocab));
  pool_.parallel_for(batch.size(), [&](int64_t task, int thread) {
    const auto sample = static_cast<size_t>(task);
    const SampleSpec& spec = batch.samples[sample];
    const float* row = logits.as<float>() + spec.row * vocab;
    samplers_[static_cast<size_t>(thread)].sample({row, static_cast<size_t>(vocab)}, spec, batch.edits_of(spec),
                                                  rows[sample], rows.top(sample));
  });
}

}  // namespace octet
