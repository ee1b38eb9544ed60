// GenerateCall: what is asked of a model, whoever asks: a command, a line of a batch, a client of the service.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "runtime/engine/request.h"

namespace octet {

// A request that is tokens already, and how its answer is to look.
struct GenerateCall {
  Request request = {};
  std::string request_id = {};
  bool is_chat = false;  // the output is an answer of its own, not the prompt's continuation
  bool echo = false;
  bool include_stop = false;
  bool keep_special = false;
  bool return_token_ids = false;  // list the tokens; logprobs and routed_experts list them, too
  std::optional<std::chrono::milliseconds> time_limit = {};  // from its arrival
  SampleTimes::Clock::time_point arrival = {};
};

// The call's request, whose tokens leave with it.
Request take_request(GenerateCall& call);

}  // namespace octet
