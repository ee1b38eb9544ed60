// The layout of weights that the cpu backend's products read.
//
// Outputs are cut into blocks of 32 columns; a block holds its 32 weights of input k = 0, 1, 2, … one after the other,
// so that a product streams through memory and every output lives in one lane from the first k to the last. The last
// block is filled up with zeros. Of a gated weight a block is 16 columns of w1 and the same 16 of w3, so that both
// factors of an output meet in one register tile. The 32 weights of one k:
//   kF32   column c at place c
//   kF16   column c at place c
//   kBF16  column c at place 2c, column c + 16 at place 2c + 1: of each 32-bit pair, a shift widens the first and a
//   mask
//          the second
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/weight.h"
#include "runtime/base/thread_pool.h"

namespace octet {

// The kernels' name of a floating-point element type.
Element element_of(DType dtype);

// Outputs of one block, and the number of blocks.
inline int64_t block_outputs(const Weight& weight) { return weight.gated ? kBlockColumns / 2 : kBlockColumns; }
inline int64_t num_blocks(const Weight& weight) {
  return (weight.num_outputs + block_outputs(weight) - 1) / block_outputs(weight);
}
// Bytes of one k of a block, and of a block.
inline int64_t step_bytes(const Weight& weight) { return matrix_bytes(weight.format, kBlockColumns, 1); }
inline int64_t block_bytes(const Weight& weight) {
  return matrix_bytes(weight.format, kBlockColumns, weight.num_inputs);
}

// Backend::prepare in this layout.
Weight pack_weight(const WeightSpec& spec, ThreadPool& pool);

}  // namespace octet
