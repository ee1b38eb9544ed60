#include "tests/softgpu/nccl/nccl_reduce.h"

#include <algorithm>

#include "tests/softgpu/base/numeric.h"
#include "tests/softgpu/nccl/nccl_channel.h"

namespace octet::softgpu {
namespace {

// Narrow floats are accumulated in float and rounded once.
template <class T>
using Accumulator = std::conditional_t<is_narrow_float<T>, float, T>;

template <class T>
void reduce_as(const std::vector<const std::byte*>& inputs, std::byte* output, u64 count, ncclRedOp_t op) {
  using A = Accumulator<T>;
  for (u64 i = 0; i < count; ++i) {
    const auto input = [&](std::size_t rank) {
      T value;
      std::memcpy(&value, inputs[rank] + i * sizeof(T), sizeof value);
      return A(value);
    };
    A total = input(0);
    for (std::size_t r = 1; r < inputs.size(); ++r) {
      const A x = input(r);
      switch (op) {
        case ncclProd:
          total = A(total * x);
          break;
        case ncclMax:
          total = std::max(total, x);
          break;
        case ncclMin:
          total = std::min(total, x);
          break;
        default:
          total = A(total + x);
          break;
      }
    }
    if (op == ncclAvg) total = A(total / A(inputs.size()));
    const T result = T(total);
    std::memcpy(output + i * sizeof(T), &result, sizeof result);
  }
}

}  // namespace

u64 size_of(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
    case ncclFloat8e4m3:
    case ncclFloat8e5m2:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    default:
      return 8;
  }
}

void reduce(const std::vector<const std::byte*>& inputs, std::byte* output, u64 count, ncclDataType_t type,
            ncclRedOp_t op) {
  switch (type) {
    case ncclInt8:
      return reduce_as<s8>(inputs, output, count, op);
    case ncclUint8:
      return reduce_as<u8>(inputs, output, count, op);
    case ncclInt32:
      return reduce_as<s32>(inputs, output, count, op);
    case ncclUint32:
      return reduce_as<u32>(inputs, output, count, op);
    case ncclInt64:
      return reduce_as<s64>(inputs, output, count, op);
    case ncclUint64:
      return reduce_as<u64>(inputs, output, count, op);
    case ncclFloat16:
      return reduce_as<Half>(inputs, output, count, op);
    case ncclBfloat16:
      return reduce_as<BFloat>(inputs, output, count, op);
    case ncclFloat32:
      return reduce_as<float>(inputs, output, count, op);
    case ncclFloat64:
      return reduce_as<double>(inputs, output, count, op);
    default:
      throw TransportError("reduction of an unsupported data type");
  }
}

}  // namespace octet::softgpu
