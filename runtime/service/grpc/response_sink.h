// Where the answer to one call goes.
#pragma once

#include <grpcpp/support/status.h>

#include "runtime/service/octet.pb.h"

namespace octet {

// Thread-safe, and never waits for the client.
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // The next part of the answer; nothing once the call has ended.
  virtual void push(v1::GenerateChunk chunk) = 0;
  // Ends the call: with OK behind everything pushed, with an error at once. Only the first call counts.
  virtual void finish(const grpc::Status& status) = 0;
};

}  // namespace octet
