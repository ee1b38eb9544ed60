// The grouped product for many rows an expert: 128 assignments by 128 weight rows a block, on tensor cores, with tiles
// of 32 values of k in a ring of four stages that cp.async fills. Eight warps, each 64 by 32. Which block does what is
// computed from the offsets on the device, so a launch depends only on the most assignments there can be. Blocks with
// the same weights and other rows are neighbours: weights come from memory once, rows from the L2 cache.
// 108 registers and 64 KiB: two blocks on an SM. Tiles of 16 rows behind the last assignment are not multiplied.
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/products.h"

namespace octet::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTileRows = 128;  // assignments, and as many weight rows
constexpr int kTileK = 32;
constexpr int kStages = 4;
constexpr int kChunks = kTileK / 8;                      // 16-byte pieces of a tile's row
constexpr int kTileBytes = kTileRows * kTileK * 2;       // of one operand
constexpr int kSharedBytes = kStages * 2 * kTileBytes;   // 64 KiB
constexpr int kCopies = kTileRows * kChunks / kThreads;  // pieces of one operand that a thread copies
constexpr int kWarpRows = 64;
constexpr int kWarpColumns = 32;
constexpr int kMmaRows = kWarpRows / 16;
constexpr int kMmaColumns = kWarpColumns / 8;
static_assert(kTileK == kStrideUnit);

// The assignments of one block.
struct RowTile {
  int expert = -1;  // -1: this block has nothing to do
  int begin = 0;
  int end = 0;
};

__device__ RowTile find_tile(const GroupedArgs& a, int index) {
  if (a.offsets == nullptr) return {0, index * kTileRows, min(a.num_rows, (index + 1) * kTileRows)};
  for (int e = 0; e < a.num_experts; ++e) {
    const int first = a.offsets[e];
    const int last = a.offsets[e + 1];
    const int tiles = (last - first + kTileRows - 1) / kTileRows;
    if (index < tiles) return {e, first + index * kTileRows, min(last, first + (index + 1) * kTileRows)};
    index -= tiles;
  }
  return {};
}

// What one thread copies: kCopies pieces of each operand at every step along k.
template <typename T>
class TileLoader {
 public:
  __device__ TileLoader(const GroupedArgs& a, const RowTile& tile, int first_weight_row, uint32_t shared)
      : shared_(shared) {
    const int num_weight_rows = a.num_outputs * (a.gated ? 2 : 1);
    const int chunk = threadIdx.x % kChunks;
    const T* weights = static_cast<const T*>(a.weights == nullptr ? a.weight : a.weights[tile.expert]);
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int row = threadIdx.x / kChunks + i * (kThreads / kChunks);
      const int assignment = min(tile.begin + row, tile.end - 1);
      is_row_[i] = tile.begin + row < tile.end;
      const int64_t x_row = a.assignment_row == nullptr ? assignment : a.assignment_row[assignment];
      x_[i] = static_cast<const T*>(a.x) + x_row * a.stride + chunk * 8;
      const int weight_row = min(first_weight_row + row, num_weight_rows - 1);
      weight_[i] = weights + static_cast<int64_t>(weight_row) * a.stride + chunk * 8;
      place_[i] = swizzled<kChunks>(row, chunk);
    }
  }

  __device__ void load(int step) const {
    const uint32_t to = shared_ + step % kStages * 2 * kTileBytes;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      copy_async_16(to + place_[i], x_[i] + step * kTileK, is_row_[i]);
      copy_async_16(to + kTileBytes + place_[i], weight_[i] + step * kTileK, true);
    }
  }

 private:
  uint32_t shared_;
  const T* x_[kCopies];
  const T* weight_[kCopies];
  uint32_t place_[kCopies];
  bool is_row_[kCopies];
};

using Accumulators = float[kMmaRows][kMmaColumns][4];

// Adds one tile of k. num_mma_rows: of this warp, that hold assignments.
template <typename T>
__device__ __forceinline__ void multiply_tile(uint32_t x_tile, uint32_t weight_tile, int num_mma_rows,
                                              Accumulators& sum) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int k = 0; k < kTileK / 16; ++k) {
    uint32_t b[kMmaColumns / 2][4];
#pragma unroll
    for (int j = 0; j < kMmaColumns / 2; ++j) {
      const int row = j * 16 + lane % 8 + lane / 16 * 8;
      load_matrices(b[j], weight_tile + swizzled<kChunks>(row, k * 2 + lane / 8 % 2));
    }
#pragma unroll
    for (int i = 0; i < kMmaRows; ++i) {
      if (i >= num_mma_rows) continue;
      uint32_t a[4];
      load_matrices(a, x_tile + swizzled<kChunks>(i * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
      for (int j = 0; j < kMmaColumns; ++j) mma_16x8x16<T>(sum[i][j], a, b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
}

// Where a warp's results go.
struct WarpPlace {
  int first_assignment, end_assignment;
  int first_weight_row;
};

__device__ __forceinline__ void store(const GroupedArgs& a, const WarpPlace& place, const Accumulators& sum) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < kMmaRows; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int assignment = place.first_assignment + i * 16 + half * 8 + lane / 4;
      if (assignment >= place.end_assignment) continue;
      float* y = a.y + static_cast<int64_t>(assignment) * a.num_outputs;
#pragma unroll
      for (int j = 0; j < kMmaColumns; ++j) {
        const int row = place.first_weight_row + j * 8 + lane % 4 * 2;
        const float first = sum[i][j][half * 2];
        const float second = sum[i][j][half * 2 + 1];
        if (a.gated) {
          if (row / 2 < a.num_outputs) y[row / 2] = silu(first) * second;
        } else {
          if (row < a.num_outputs) y[row] = first;
          if (row + 1 < a.num_outputs) y[row + 1] = second;
        }
      }
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 2) grouped_tiles_kernel(const __grid_constant__ GroupedArgs a) {
  extern __shared__ __align__(128) unsigned char shared[];
  const RowTile tile = find_tile(a, blockIdx.x);
  if (tile.expert < 0) return;
  const int first_weight_row = blockIdx.y * kTileRows;
  const int warp_row = threadIdx.x / kWarp % 2 * kWarpRows;
  const int warp_column = threadIdx.x / kWarp / 2 * kWarpColumns;
  const int num_mma_rows = max(0, min(kMmaRows, (tile.end - tile.begin - warp_row + 15) / 16));
  const uint32_t base = shared_address(shared);
  const TileLoader<T> loader(a, tile, first_weight_row, base);
  const int num_steps = a.stride / kTileK;
  Accumulators sum = {};
#pragma unroll
  for (int step = 0; step < kStages - 1; ++step) {
    if (step < num_steps) loader.load(step);
    commit_copies();
  }
  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // the tile is there for all, and all have left the stage that is filled next
    if (step + kStages - 1 < num_steps) loader.load(step + kStages - 1);
    commit_copies();
    const uint32_t x_tile = base + step % kStages * 2 * kTileBytes;
    // Offsets of whole warps are multiples of eight rows, which the permutation of chunks leaves alone.
    multiply_tile<T>(x_tile + warp_row * kTileK * 2, x_tile + kTileBytes + warp_column * kTileK * 2, num_mma_rows, sum);
  }
  store(a, {tile.begin + warp_row, tile.end, first_weight_row + warp_column}, sum);
}

template <typename T>
void launch(const GroupedArgs& args, dim3 grid, cudaStream_t stream) {
  OCTET_CUDA_CHECK(
      cudaFuncSetAttribute(grouped_tiles_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  grouped_tiles_kernel<T><<<grid, kThreads, kSharedBytes, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace

void grouped_tiles(const GroupedArgs& args, cudaStream_t stream) {
  if (args.max_assignments == 0 || args.num_outputs == 0) return;
  const int num_weight_rows = args.num_outputs * (args.gated ? 2 : 1);
  // Every expert but one may end with a tile that is not full.
  const int row_tiles = (args.max_assignments + kTileRows - 1) / kTileRows + args.num_experts - 1;
  const dim3 grid(row_tiles, (num_weight_rows + kTileRows - 1) / kTileRows);
  if (args.element == Element::kBF16) {
    launch<__nv_bfloat16>(args, grid, stream);
  } else {
    launch<__half>(args, grid, stream);
  }
}

}  // namespace octet::cuda
