// Failures on demand, for tests of what a program does about them.
#pragma once

namespace octet::softgpu {

enum class Fault { kNone, kInternal, kRemote, kSystem, kStall, kKill };

// What SOFTGPU_NCCL_FAULT says about the group of operations that `device` is about to execute. "N:KIND" is the N-th of
// every device of the process, counted from 1 over all its communicators, graphs included; "DEVICE:N:KIND" of one
// device.
Fault next_fault(int device);

}  // namespace octet::softgpu
