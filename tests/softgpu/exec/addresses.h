// Address operands of memory instructions.
#pragma once

#include "tests/softgpu/exec/lanes.h"

namespace octet::softgpu {

using Base = Builder::Base;

// Lane addresses of a memory instruction: ops[0] is the base, mode[1] says how to read it.
void lane_addresses(Warp& w, const Instr& in, u64* address);

Space take_space(Builder& b);
// Caching and ordering modifiers that make no difference here: host memory is strongly ordered.
void ignore_hints(Builder& b);
// Where an address lives; sets mode[0] and mode[1].
void take_address(Builder& b, Space space, const Operand& operand);

// Parts of select_memory.
Execute select_atomic(Builder& b);
Execute select_copy_async(Builder& b);

}  // namespace octet::softgpu
