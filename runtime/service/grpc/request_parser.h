// From what a client sends to what the engine takes: pure functions that trust nothing.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/engine/request.h"
#include "runtime/service/octet.pb.h"
#include "runtime/service/served_model.h"
#include "runtime/service/service_limits.h"

namespace octet {

// A request that is good, and how its answer is to look.
struct GenerationJob {
  Request request;  // valid for the model's bounds; max_tokens is set
  std::string request_id;
  bool is_chat = false;
  bool echo = false;
  bool include_stop = false;
  bool keep_special = false;
  bool return_token_ids = false;  // list the tokens; logprobs and routed_experts list them, too
  std::optional<std::chrono::milliseconds> time_limit = {};  // from its arrival
  SampleTimes::Clock::time_point arrival = {};
};

// Errors are kInvalidInput with the field's path in the request; they say its value and its bound. Time grows with the
// prompt's length as encoding does. An unset seed is drawn; the arrival is the caller's to set. Thread-safe.
Result<GenerationJob> parse_generate(const v1::GenerateRequest& request, const ServedModel& model,
                                     const ServiceLimits& limits);

// What a request gets that sets nothing.
v1::SamplingParams sampling_defaults(const GenerationDefaults& defaults);

}  // namespace octet
