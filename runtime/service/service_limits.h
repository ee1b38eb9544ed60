// What a service takes at most, beyond the bounds of its engine.
#pragma once

#include <chrono>
#include <cstdint>

namespace octet {

struct ServiceLimits {
  int64_t max_message_bytes = 4 << 20;            // of a message that a client sends
  int64_t max_prompt_bytes = 512 << 10;           // of text, or of a conversation's messages together
  int64_t max_stop_strings = 16;                  // and as many stop tokens
  int64_t max_stop_bytes = 1024;                  // of one stop string
  int64_t max_logit_bias_entries = 1024;          // of a request
  int64_t max_queue = 256;                        // requests in flight beyond the batch
  int64_t max_parse_bytes = 64 << 20;             // of generating requests that wait to be parsed, and of others
  int64_t max_connections = 1024;                 // of clients; half of them from one address
  int64_t max_outbox_bytes = 8 << 20;             // of output that a client has not read yet
  std::chrono::milliseconds stall_limit{30'000};  // of a client that reads nothing of what waits for it
};

}  // namespace octet
