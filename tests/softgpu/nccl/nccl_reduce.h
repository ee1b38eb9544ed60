// Data types of NCCL and reductions of them.
#pragma once

#pragma GCC visibility push(default)
#include <nccl.h>
#pragma GCC visibility pop

#include <vector>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {

u64 size_of(ncclDataType_t type);  // bytes

// output[i] = the reduction of every inputs[r][i], in the order of r; `count` elements of `type` each. Narrow floats
// are accumulated in float and rounded once. Throws TransportError for a type that cannot be reduced.
void reduce(const std::vector<const std::byte*>& inputs, std::byte* output, u64 count, ncclDataType_t type,
            ncclRedOp_t op);

}  // namespace octet::softgpu
