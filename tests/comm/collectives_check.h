// What every transport must do, as one body that each of them runs.
#pragma once

#include "comm/comm_world.h"
#include "kernels/backend.h"
#include "runtime/base/status.h"

namespace octet {

// Host and tensor collectives over several groups of the world with random sizes, zero rows included, in the memory of
// the backend, for which the world was made. Every rank passes the same seed. The failure names what went wrong.
Status check_collectives(CommWorld& world, Backend& backend, uint32_t seed);

}  // namespace octet
