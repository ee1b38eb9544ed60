// Fills the kernel table of the translation unit that includes this, from its vectors (Vec) and tile sizes.
#pragma once

// The order matters: products name what the others use, too.
// clang-format off
#include "kernels/cpu/isa_products_inl.h"
#include "kernels/cpu/isa_rows_inl.h"
#include "kernels/cpu/isa_ceilings_inl.h"
// clang-format on

namespace octet {
namespace {

template <int kRows>
constexpr void add_rows(KernelTable& table) {
  table.packed[static_cast<size_t>(Element::kF32)][kRows] = packed_product<Element::kF32, kRows>;
  table.packed[static_cast<size_t>(Element::kBF16)][kRows] = packed_product<Element::kBF16, kRows>;
  table.packed[static_cast<size_t>(Element::kF16)][kRows] = packed_product<Element::kF16, kRows>;
  table.blocks_in_flight[kRows] = blocks_in_flight(kRows);
  table.panel[kRows] = panel_product<kRows, 1, kRows>;
  table.panel_by_rows[kRows] = panel_product<kRows, 64, 1>;
  if constexpr (kRows < kTileRows) add_rows<kRows + 1>(table);
}

constexpr KernelTable make_table() {
  KernelTable table;
  table.tile_rows = kTileRows;
  add_rows<1>(table);
  table.convert = {convert<Element::kF32>, convert<Element::kBF16>, convert<Element::kF16>, convert<Element::kI8>};
  table.gate = gate;
  table.accumulate = accumulate;
  table.accumulate_scaled = accumulate_scaled;
  table.accumulate_scaled_bf16 = accumulate_scaled_bf16;
  table.round_bf16 = round_bf16;
  table.narrow_bf16 = narrow_bf16;
  table.rms_norm = rms_norm;
  table.rotate = rotate;
  table.softmax_block = softmax_block;
  table.softmax_merge = softmax_merge;
  table.divide = divide;
  table.exponential = exponential;
  table.largest = largest;
  table.weigh = weigh;
  table.multiply_add_loop = multiply_add_loop;
  table.read_loop = read_loop;
  return table;
}

}  // namespace
}  // namespace octet
