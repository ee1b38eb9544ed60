#include "bench/attention_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bench/device_tensor.h"
#include "bench/random_tensor.h"

namespace octet {
namespace {

constexpr int64_t kHeadDim = 128;
constexpr float kScale = 1.0F / 127;  // of int8 elements

// The bytes of a block of random values in [-1, 1).
std::vector<std::byte> random_block(DType dtype) {
  const Tensor values = random_tensor({kPageTokens * kHeadDim}, 3);
  std::vector<std::byte> block(static_cast<size_t>(KvCacheView::block_bytes(dtype, kHeadDim)));
  if (dtype != DType::kI8) {
    write_from_f32(values.view.as<float>(), values.view.num_elements(), dtype, block.data());
    return block;
  }
  for (int64_t i = 0; i < values.view.num_elements(); ++i) {
    block[static_cast<size_t>(i)] = static_cast<std::byte>(static_cast<int>(values.view.as<float>()[i] / kScale));
  }
  const std::vector<float> scales(kPageTokens, kScale);
  std::memcpy(block.data() + kPageTokens * kHeadDim, scales.data(), scales.size() * sizeof(float));
  return block;
}

std::vector<float> elements_of(const std::vector<std::byte>& block, DType dtype) {
  std::vector<float> elements(kPageTokens * kHeadDim);
  if (dtype != DType::kI8) {
    read_as_f32(block.data(), dtype, kPageTokens * kHeadDim, elements.data());
    return elements;
  }
  std::ranges::transform(block.begin(), block.begin() + kPageTokens * kHeadDim, elements.begin(),
                         [](std::byte element) { return kScale * static_cast<float>(static_cast<int8_t>(element)); });
  return elements;
}

}  // namespace

Work AttentionBench::Scene::work() const {
  const double sequence_bytes = static_cast<double>(pages_for(context) * 2 * cache.page_bytes());
  // A row at position p multiplies its queries with p + 1 keys and as many values.
  const auto keys = static_cast<double>(rows) * (static_cast<double>(context) - static_cast<double>(rows - 1) / 2);
  const double row_operations = 4.0 * static_cast<double>(shape.num_heads * shape.head_dim);
  return {sequence_bytes * static_cast<double>(num_sequences),
          keys * row_operations * static_cast<double>(num_sequences)};
}

double AttentionBench::Scene::expected(int64_t sequence, int64_t row, int64_t head) const {
  const float* query =
      host_qkv.view.as<float>() + (sequence * rows + row) * host_qkv.view.row_elements() + head * kHeadDim;
  double total = 0;
  double sum = 0;
  for (int64_t j = 0; j <= context - rows + row; ++j) {
    const auto slot = static_cast<size_t>(j % kPageTokens);
    double score = 0;
    for (size_t d = 0; d < kHeadDim; ++d) score += double{query[d]} * double{block[d * kPageTokens + slot]};
    const double weight = std::exp(score / std::sqrt(double{kHeadDim}));
    total += weight;
    sum += weight * double{block[slot * kHeadDim]};
  }
  return sum / total;
}

AttentionBench::Scene AttentionBench::make_scene(DType kv_dtype, int64_t num_sequences, int64_t rows, int64_t context) {
  Scene scene;
  scene.kv_dtype = kv_dtype;
  scene.num_sequences = num_sequences;
  scene.rows = rows;
  scene.context = context;
  scene.shape = {options_.num_heads, options_.num_kv_heads, kHeadDim, 0};
  scene.host_qkv =
      random_tensor({num_sequences * rows, (options_.num_heads + 2 * options_.num_kv_heads) * kHeadDim}, 5);
  scene.qkv = to_device(backend_, scene.host_qkv);
  scene.out = backend_.allocate_tensor(DType::kF32, {num_sequences * rows, options_.num_heads * kHeadDim});
  fill_cache(scene);
  place_rows(scene);
  return scene;
}

void AttentionBench::fill_cache(Scene& scene) {
  const std::vector<std::byte> block = random_block(scene.kv_dtype);
  scene.block = elements_of(block, scene.kv_dtype);
  const int64_t num_pages = scene.num_sequences * pages_for(scene.context);
  scene.cache = {nullptr, nullptr, scene.kv_dtype, num_pages, options_.num_kv_heads, kHeadDim};
  const int64_t bytes = 2 * num_pages * scene.cache.page_bytes();
  scene.memory = backend_.allocate_tensor(DType::kI8, {bytes});
  // Page by page: together they may be larger than what else the host has.
  std::vector<std::byte> page;
  for (int64_t head = 0; head < options_.num_kv_heads; ++head) page.insert(page.end(), block.begin(), block.end());
  for (int64_t at = 0; at < bytes; at += std::ssize(page))
    backend_.upload(page.data(), scene.memory.view.slice_rows(at, std::ssize(page)), stream_);
  stream_.synchronize();
  scene.cache.keys = static_cast<std::byte*>(scene.memory.view.data);
  scene.cache.values = scene.cache.keys + num_pages * scene.cache.page_bytes();
}

void AttentionBench::place_rows(Scene& scene) {
  const int64_t sequence_pages = pages_for(scene.context);
  const auto first_position = static_cast<int32_t>(scene.context - scene.rows);
  const auto count = static_cast<int32_t>(scene.rows);
  std::vector<int32_t> positions, pages;
  for (int32_t s = 0; s < scene.num_sequences; ++s) {
    scene.sequences.push_back({s * count, count, first_position});
    for (int32_t r = 0; r < count; ++r) positions.push_back(first_position + r);
    // Neighbouring pages of a sequence seldom are neighbours in memory.
    for (int64_t p = 0; p < sequence_pages; ++p) pages.push_back(static_cast<int32_t>(p * scene.num_sequences + s));
  }
  scene.positions = backend_.allocate_tensor(DType::kI32, {std::ssize(positions)});
  scene.page_tables = backend_.allocate_tensor(DType::kI32, {scene.num_sequences, sequence_pages});
  backend_.upload_and_wait(positions.data(), scene.positions.view);
  backend_.upload_and_wait(pages.data(), scene.page_tables.view);
}

void AttentionBench::attend(Scene& scene) {
  backend_.paged_attention(scene.qkv.view, {scene.sequences, scene.positions.view, scene.page_tables.view}, scene.shape,
                           scene.cache, scene.out.view, stream_);
}

Status AttentionBench::check(const Scene& scene) {
  const Tensor out = to_host(backend_, scene.out.view, stream_);
  // Devices may round a prompt's queries and weights to 16 bits; values are smaller than 1.
  const bool is_exact = scene.rows == 1 || backend_.memory_kind() == MemoryKind::kHost;
  const double tolerance = is_exact ? 2e-5 : 1e-2;
  const int64_t last_head = options_.num_heads - 1;
  for (const auto& [sequence, row, head] : {std::tuple(int64_t{0}, int64_t{0}, last_head),
                                            {scene.num_sequences - 1, scene.rows / 2, 0},
                                            {scene.num_sequences - 1, scene.rows - 1, last_head}}) {
    const double expected = scene.expected(sequence, row, head);
    const double actual = out.view.as<float>()[((sequence * scene.rows + row) * options_.num_heads + head) * kHeadDim];
    if (!(std::abs(actual - expected) <= tolerance))
      return failed("{}: attention gives {} for {}", backend_.name(), actual, expected);
  }
  return ok_status();
}

Status AttentionBench::measure(KernelReport& report, const std::string& kernel, Scene scene) {
  attend(scene);
  OCTET_RETURN_IF_ERROR(check(scene));
  report.measure(
      kernel,
      fmt::format("{} x {} at {} {}", scene.num_sequences, scene.rows, scene.context, dtype_name(scene.kv_dtype)),
      scene.work(), [&] { attend(scene); });
  return ok_status();
}

Status AttentionBench::run(KernelReport& report) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI8}) {
    if (!backend_.check_model({options_.weight_dtype, dtype, kHeadDim, options_.num_heads / options_.num_kv_heads})
             .ok())
      continue;
    for (const int64_t context : options_.context_lengths) {
      OCTET_RETURN_IF_ERROR(measure(report, "decode", make_scene(dtype, 1, 1, context)));
      OCTET_RETURN_IF_ERROR(measure(report, "decode", make_scene(dtype, 16, 1, context)));
      OCTET_RETURN_IF_ERROR(measure(report, "prefill", make_scene(dtype, 1, std::min<int64_t>(context, 512), context)));
    }
  }
  return ok_status();
}

}  // namespace octet
