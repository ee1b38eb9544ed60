// From what a client sends to what the engine takes: pure functions that trust nothing.
#pragma once

#include "runtime/base/status.h"
#include "runtime/engine/request.h"
#include "runtime/service/octet.pb.h"
#include "runtime/service/served_model.h"
#include "runtime/service/service_limits.h"
#include "runtime/session/generate_call.h"

namespace octet {

// Errors are kInvalidInput with the field's path in the request; they say its value and its bound. Time grows with the
// prompt's length as encoding does. An unset seed is drawn; the arrival is the caller's to set. Thread-safe.
Result<GenerateCall> parse_generate(const v1::GenerateRequest& request, const ServedModel& model,
                                    const ServiceLimits& limits);

// What a request gets that sets nothing.
v1::SamplingParams sampling_defaults(const GenerationDefaults& defaults);

}  // namespace octet
