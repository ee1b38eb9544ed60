// Routing, grouping and combining. Routing and grouping work on a few integers a row and are bound by latency; the
// combination is bound by memory.
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device_math.cuh"
#include "kernels/cuda/moe_kernels.h"

namespace octet::cuda {
namespace {

constexpr int kThreads = 256;

// Whether `id` is among the `count` ids at `chosen`.
__device__ bool contains(const int32_t* chosen, int count, int32_t id) {
  for (int i = 0; i < count; ++i) {
    if (chosen[i] == id) return true;
  }
  return false;
}

// One thread a row: experts in the order of falling logits, ties by rising id.
__global__ void __launch_bounds__(kThreads) route_kernel(RouteArgs a) {
  const int row = blockIdx.x * kThreads + threadIdx.x;
  if (row >= a.num_rows) return;
  const float* logits = a.logits + static_cast<int64_t>(row) * a.num_experts;
  int32_t* chosen = a.ids + static_cast<int64_t>(row) * a.top_k;
  float* weights = a.weights + static_cast<int64_t>(row) * a.top_k;
  float total = 0;
  float largest = 0;
  for (int j = 0; j < a.top_k; ++j) {
    int32_t best = -1;
    float best_logit = 0;
    for (int32_t e = 0; e < a.num_experts; ++e) {
      const float logit = logits[e];
      if (best >= 0 && !(logit > best_logit)) continue;
      if (contains(chosen, j, e)) continue;
      best = e;
      best_logit = logit;
    }
    if (j == 0) largest = best_logit;
    chosen[j] = best;
    weights[j] = expf(best_logit - largest);
    total += weights[j];
  }
  for (int j = 0; j < a.top_k; ++j) weights[j] /= total;
}

constexpr int kGroupWarps = 32;

// One block; a warp sorts the choices of the local experts e ≡ its index. The order within an expert is that of the
// choices, by ballots: no atomics.
class Grouping {
 public:
  __device__ explicit Grouping(const GroupArgs& args) : a_(args), lane_(threadIdx.x % kWarp) {}

  __device__ int count(int expert) const {
    int total = 0;
    for (int first = 0; first < a_.num_choices; first += kWarp)
      total += __popc(__ballot_sync(~0U, is_of(first + lane_, expert)));
    return total;
  }

  __device__ void assign(int expert, int next) const {
    for (int first = 0; first < a_.num_choices; first += kWarp) {
      const int choice = first + lane_;
      const bool mine = is_of(choice, expert);
      const unsigned all = __ballot_sync(~0U, mine);
      if (mine) {
        const int slot = next + __popc(all & ((1U << lane_) - 1));
        a_.slots[choice] = slot;
        a_.assignment_row[slot] = choice / a_.top_k;
      }
      next += __popc(all);
    }
  }

  __device__ int local(int choice) const {
    const int32_t id = a_.ids[choice];
    return id < 0 ? -1 : a_.local_expert[id];
  }

 private:
  __device__ bool is_of(int choice, int expert) const { return choice < a_.num_choices && local(choice) == expert; }

  const GroupArgs& a_;
  int lane_;
};

__global__ void __launch_bounds__(kGroupWarps* kWarp) group_kernel(GroupArgs a) {
  const Grouping grouping(a);
  const int warp = threadIdx.x / kWarp;
  for (int choice = threadIdx.x; choice < a.num_choices; choice += kGroupWarps * kWarp) {
    if (grouping.local(choice) < 0) a.slots[choice] = -1;
  }
  if (threadIdx.x == 0) a.offsets[0] = 0;
  for (int e = warp; e < a.num_local; e += kGroupWarps) {
    const int count = grouping.count(e);
    if (threadIdx.x % kWarp == 0) a.offsets[e + 1] = count;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int e = 0; e < a.num_local; ++e) a.offsets[e + 1] += a.offsets[e];
  }
  __syncthreads();
  for (int e = warp; e < a.num_local; e += kGroupWarps) grouping.assign(e, a.offsets[e]);
}

// The choice with the lowest expert id above `above`; -1 where there is none.
__device__ int next_choice(const int32_t* ids, int top_k, int32_t above) {
  int best = -1;
  for (int j = 0; j < top_k; ++j) {
    if (ids[j] > above && (best < 0 || ids[j] < ids[best])) best = j;
  }
  return best;
}

__global__ void __launch_bounds__(kThreads) weighted_sum_kernel(WeightedSumArgs a) {
  const int64_t first_choice = static_cast<int64_t>(blockIdx.x) * a.top_k;
  const int32_t* ids = a.ids + first_choice;
  float* out = a.out + static_cast<int64_t>(blockIdx.x) * a.width;
  for (int i = threadIdx.x + blockIdx.y * kThreads; i < a.width; i += kThreads * gridDim.y) {
    float sum = 0;
    for (int j = next_choice(ids, a.top_k, -1); j >= 0; j = next_choice(ids, a.top_k, ids[j])) {
      const int32_t slot = a.slots[first_choice + j];
      if (slot < 0) continue;
      const float product = __fmul_rn(a.weights[first_choice + j], a.y[static_cast<int64_t>(slot) * a.width + i]);
      sum = __fadd_rn(sum, a.rounds_products ? __bfloat162float(__float2bfloat16_rn(product)) : product);
    }
    out[i] = sum;
  }
}

}  // namespace

void route_top_k(const RouteArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  route_kernel<<<(args.num_rows + kThreads - 1) / kThreads, kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

void group_by_expert(const GroupArgs& args, cudaStream_t stream) {
  group_kernel<<<1, kGroupWarps * kWarp, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

void weighted_sum(const WeightedSumArgs& args, cudaStream_t stream) {
  if (args.num_rows == 0) return;
  // Few rows are spread over more blocks, each with a part of the columns.
  const int parts = args.num_rows >= 256 ? 1 : (args.width + 4 * kThreads - 1) / (4 * kThreads);
  weighted_sum_kernel<<<dim3(args.num_rows, parts), kThreads, 0, stream>>>(args);
  OCTET_CUDA_CHECK_LAUNCH();
}

}  // namespace octet::cuda
