// --check-weights: looks at every weight of a checkpoint.
#pragma once

#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"

namespace octet {

// kInvalidInput naming the first matrix, row and column that holds NaN or infinity. Reads every weight once; what it
// has read does not stay resident.
Status check_finite(const Checkpoint& checkpoint);

}  // namespace octet
