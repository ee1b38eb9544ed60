// The grouped product by cuBLAS (cublasGemmGroupedBatchedEx, cuBLAS 12.5 or newer), for many rows an expert that the
// host can count.
//
// What cuBLAS asks: rows of an expert that lie one after the other, outputs of the operands' type, and addresses of
// multiples of 16 bytes, here given by strides of 16 bytes at the least. So rows are gathered as they are rounded, and
// outputs pass through 16 bits; their sums are fp32.
#pragma once

#include <cublas_v2.h>

#include <cstdint>
#include <span>

#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/products.h"

namespace octet::cuda {

// Mean rows of the experts that have any, from which on cuBLAS computes them: a full tile of grouped_tiles for each. A
// constant from reasoning (its kernels are made for each GPU, ours for the oldest; at fewer rows reading the weights is
// most of the work), not measured on a GPU.
inline constexpr int64_t kBlasRows = 128;

// Whether cuBLAS is to compute experts with these rows; false where the toolkit's cuBLAS is older than the function.
bool suits_grouped_blas(std::span<const int32_t> host_offsets);

// args.x in fp32; args.weight, weights, offsets, num_experts and max_assignments are not read: `weights` are the
// experts' and host_offsets [experts + 1] their assignments. REQUIRES: suits_grouped_blas(host_offsets).
void grouped_blas(const GroupedArgs& args, std::span<const void* const> weights, std::span<const int32_t> host_offsets,
                  CudaStream& stream);

}  // namespace octet::cuda
