#include "bench/attention_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bench/random_tensor.h"

namespace octet {
namespace {

constexpr int64_t kHeadDim = 128;

// A byte pattern that is a small value in every type of page: no infinities in 16 bit, mild scales.
void fill_pages(Tensor& memory, DType dtype) {
  const int64_t bytes = memory.view.num_bytes();
  auto* data = static_cast<std::byte*>(memory.view.data);
  const Tensor values = random_tensor({kPageTokens * kHeadDim}, 3);
  std::vector<std::byte> block(static_cast<size_t>(KvCacheView::block_bytes(dtype, kHeadDim)), std::byte{1});
  if (dtype == DType::kI8) {
    for (int64_t i = 0; i < values.view.num_elements(); ++i) {
      block[static_cast<size_t>(i)] = static_cast<std::byte>(static_cast<int>(values.view.as<float>()[i] * 127));
    }
    const std::vector<float> scales(kPageTokens, 1.0F / 127);
    std::memcpy(block.data() + kPageTokens * kHeadDim, scales.data(), scales.size() * sizeof(float));
  } else {
    write_from_f32(values.view.as<float>(), values.view.num_elements(), dtype, block.data());
  }
  for (int64_t at = 0; at < bytes; at += static_cast<int64_t>(block.size())) {
    std::memcpy(data + at, block.data(), block.size());
  }
}

}  // namespace

Work AttentionBench::Scene::work() const {
  const double sequence_bytes = static_cast<double>((context + kPageTokens - 1) / kPageTokens * 2 * cache.page_bytes());
  // A row at position p multiplies its queries with p + 1 keys and as many values.
  const auto keys = static_cast<double>(rows) * (static_cast<double>(context) - static_cast<double>(rows - 1) / 2);
  const double row_operations = 4.0 * static_cast<double>(shape.num_heads * shape.head_dim);
  return {sequence_bytes * static_cast<double>(num_sequences),
          keys * row_operations * static_cast<double>(num_sequences)};
}

AttentionBench::Scene AttentionBench::make_scene(DType kv_dtype, int64_t num_sequences, int64_t rows,
                                                 int64_t context) const {
  Scene scene;
  scene.kv_dtype = kv_dtype;
  scene.num_sequences = num_sequences;
  scene.rows = rows;
  scene.context = context;
  scene.shape = {options_.num_heads, options_.num_kv_heads, kHeadDim, 0};
  const int64_t sequence_pages = (context + kPageTokens - 1) / kPageTokens;
  const int64_t num_pages = num_sequences * sequence_pages;
  scene.cache = {nullptr, nullptr, kv_dtype, num_pages, options_.num_kv_heads, kHeadDim};
  scene.memory = Tensor::host(DType::kI8, {2 * num_pages * scene.cache.page_bytes()});
  fill_pages(scene.memory, kv_dtype);
  scene.cache.keys = static_cast<std::byte*>(scene.memory.view.data);
  scene.cache.values = scene.cache.keys + num_pages * scene.cache.page_bytes();
  const int64_t total_rows = num_sequences * rows;
  scene.qkv = random_tensor({total_rows, (options_.num_heads + 2 * options_.num_kv_heads) * kHeadDim}, 5);
  scene.positions = Tensor::host(DType::kI32, {total_rows});
  scene.page_tables = Tensor::host(DType::kI32, {num_sequences, sequence_pages});
  scene.out = Tensor::host(DType::kF32, {total_rows, options_.num_heads * kHeadDim});
  for (int64_t s = 0; s < num_sequences; ++s) {
    const auto first_position = static_cast<int32_t>(context - rows);
    scene.sequences.push_back({static_cast<int32_t>(s * rows), static_cast<int32_t>(rows), first_position});
    for (int64_t r = 0; r < rows; ++r) {
      scene.positions.view.as<int32_t>()[s * rows + r] = first_position + static_cast<int32_t>(r);
    }
    for (int64_t p = 0; p < sequence_pages; ++p) {
      // Neighbouring pages of a sequence seldom are neighbours in memory.
      scene.page_tables.view.as<int32_t>()[s * sequence_pages + p] = static_cast<int32_t>(p * num_sequences + s);
    }
  }
  return scene;
}

void AttentionBench::attend(Scene& scene) {
  backend_.paged_attention(scene.qkv.view, {scene.sequences, scene.positions.view, scene.page_tables.view}, scene.shape,
                           scene.cache, scene.out.view, stream_);
}

Status AttentionBench::check() {
  Scene scene = make_scene(DType::kF32, 1, 1, 100);
  attend(scene);
  const auto* keys = reinterpret_cast<const float*>(scene.cache.key_block(0, 0));
  const auto* values = reinterpret_cast<const float*>(scene.cache.value_block(0, 0));
  double total = 0;
  double sum = 0;
  for (int64_t j = 0; j < 100; ++j) {  // all pages are alike
    double score = 0;
    for (int64_t d = 0; d < kHeadDim; ++d) {
      score += double{scene.qkv.view.as<float>()[d]} * double{keys[d * kPageTokens + j % kPageTokens]};
    }
    const double weight = std::exp(score / std::sqrt(double{kHeadDim}));
    total += weight;
    sum += weight * double{values[j % kPageTokens * kHeadDim]};
  }
  const double actual = scene.out.view.as<float>()[0];
  if (std::abs(actual - sum / total) <= 1e-5) return ok_status();
  return failed("attention gives {} for {}", actual, sum / total);
}

void AttentionBench::measure(KernelReport& report, const std::string& kernel, Scene scene) {
  const std::string what =
      fmt::format("{} x {} at {} {}", scene.num_sequences, scene.rows, scene.context, dtype_name(scene.kv_dtype));
  report.measure(kernel, what, [&] {
    attend(scene);
    return scene.work();
  });
}

void AttentionBench::run(KernelReport& report) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    for (const int64_t context : options_.context_lengths) {
      measure(report, "decode", make_scene(dtype, 1, 1, context));
      measure(report, "decode", make_scene(dtype, 16, 1, context));
      measure(report, "prefill", make_scene(dtype, 1, std::min<int64_t>(context, 512), context));
    }
  }
}

}  // namespace octet
