// The generation parameters as fields of octet.v1.GenerateRequest: those that their table names (generation_params.h).
#pragma once

#include "runtime/base/status.h"
#include "runtime/checkpoint/generation_params.h"
#include "runtime/service/octet.pb.h"

namespace octet {

// What the request sets; a parameter that it does not set stays as it is. Thread-safe.
void read_param_fields(const v1::GenerateRequest& request, GenerationParams& params);

// Every parameter that has a value. kInvalidInput for a number that its field has no room for; the first in the order
// of the message's fields.
Status write_param_fields(const GenerationParams& params, v1::GenerateRequest& request);

}  // namespace octet
