#include "kernels/cpu/packed_weight.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace octet {
namespace {

// Elements of a source row that are read at a time: long enough to stream from 32 rows at once, short enough that the
// 32 pieces stay in the first-level cache until they are transposed.
constexpr int64_t kChunk = 128;

struct SourceRow {
  const std::byte* data = nullptr;  // null: a column of zeros
  DType dtype = DType::kF32;
};

// The row of the checkpoint that gives output `row` of the stacked parts.
SourceRow stacked_row(const WeightSpec& spec, int64_t row) {
  for (const MatrixSource& part : spec.parts) {
    if (row < part.num_rows) return {part.row(row), part.format.dtype()};
    row -= part.num_rows;
  }
  return {};
}

// The source of one column of one block.
SourceRow source_of(const WeightSpec& spec, int64_t block, int64_t column) {
  if (!spec.gated) return stacked_row(spec, block * kBlockColumns + column);
  constexpr int64_t kHalf = kBlockColumns / 2;
  const MatrixSource& part = spec.parts[column < kHalf ? 0 : 1];
  const int64_t row = block * kHalf + column % kHalf;
  return row < part.num_rows ? SourceRow{part.row(row), part.format.dtype()} : SourceRow{};
}

// Where column c stands among the 32 weights of one k.
int64_t place_of(DType dtype, int64_t column) {
  constexpr int64_t kHalf = kBlockColumns / 2;
  return dtype == DType::kBF16 ? 2 * (column % kHalf) + column / kHalf : column;
}

// Elements [begin, begin + count) of a source row as `dtype`.
void read_chunk(const SourceRow& row, int64_t begin, int64_t count, DType dtype, std::byte* out) {
  if (row.data == nullptr) {
    std::memset(out, 0, static_cast<size_t>(count * dtype_size(dtype)));
    return;
  }
  const std::byte* source = row.data + begin * dtype_size(row.dtype);
  if (row.dtype == dtype) {
    std::memcpy(out, source, static_cast<size_t>(count * dtype_size(dtype)));
    return;
  }
  std::array<float, kChunk> widened;
  read_as_f32(source, row.dtype, count, widened.data());
  write_from_f32(widened.data(), count, dtype, out);
}

// T: an unsigned integer of the element's size.
template <typename T>
void pack_block(const WeightSpec& spec, int64_t block, T* out) {
  const DType dtype = spec.format.dtype();
  std::array<SourceRow, kBlockColumns> sources;
  for (int64_t c = 0; c < kBlockColumns; ++c) {
    sources[static_cast<size_t>(place_of(dtype, c))] = source_of(spec, block, c);
  }
  alignas(64) std::array<T, kBlockColumns * kChunk> rows;
  for (int64_t begin = 0; begin < spec.num_inputs(); begin += kChunk) {
    const int64_t count = std::min(kChunk, spec.num_inputs() - begin);
    for (int64_t place = 0; place < kBlockColumns; ++place) {
      read_chunk(sources[static_cast<size_t>(place)], begin, count, dtype,
                 reinterpret_cast<std::byte*>(rows.data() + place * kChunk));
    }
    for (int64_t k = 0; k < count; ++k) {
      T* step = out + (begin + k) * kBlockColumns;
      for (int64_t place = 0; place < kBlockColumns; ++place) {
        step[place] = rows[static_cast<size_t>(place * kChunk + k)];
      }
    }
  }
}

}  // namespace

Element element_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return Element::kF32;
    case DType::kBF16:
      return Element::kBF16;
    case DType::kF16:
      return Element::kF16;
    case DType::kI8:
      return Element::kI8;
    default:
      OCTET_CHECK(false, "no kernels for {}", dtype_name(dtype));
  }
}

Weight pack_weight(const WeightSpec& spec, ThreadPool& pool) {
  OCTET_CHECK(spec.partial_bounds.size() >= 2 && spec.partial_bounds.back() == spec.num_inputs(),
              "partial sums do not cover the {} inputs", spec.num_inputs());
  OCTET_CHECK(!spec.gated || spec.partial_bounds.size() == 2, "a gated weight has one partial sum");
  Weight weight{spec.format, spec.gated, spec.num_inputs(), spec.num_outputs(), spec.partial_bounds, {}};
  weight.storage = Buffer::host(static_cast<size_t>(num_blocks(weight) * block_bytes(weight)));
  pool.parallel_for(num_blocks(weight), [&](int64_t block, int) {
    std::byte* out = weight.storage.data() + block * block_bytes(weight);
    if (spec.format.dtype() == DType::kF32) {
      pack_block(spec, block, reinterpret_cast<uint32_t*>(out));
    } else {
      pack_block(spec, block, reinterpret_cast<uint16_t*>(out));
    }
  });
  return weight;
}

}  // namespace octet
