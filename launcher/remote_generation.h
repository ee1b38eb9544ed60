// RemoteGeneration: one prompt's outputs from a service, taken up again where the service went away in the middle.
#pragma once

#include <chrono>
#include <optional>

#include "launcher/generator.h"
#include "runtime/service/client/client.h"

namespace octet {

// Everything is borrowed and outlives it. Single use.
class RemoteGeneration {
 public:
  // call: with a seed. patience: how long a service may be away.
  RemoteGeneration(ServiceClient& client, const ClientCall& call, std::chrono::seconds patience,
                   const GenerationHooks& hooks, GenerationResult& result)
      : client_(client), call_(call), patience_(patience), hooks_(hooks), result_(result) {}

  Status run();

 private:
  using Clock = std::chrono::steady_clock;

  // Until the stream's end; nothing is left to be told then.
  Result<RpcStatus> stream(const ClientCall& call);
  // What is still to be asked: all, before the first token, else the first sample that has not ended.
  std::optional<ClientCall> next_call() const;
  // kFailed where a stream that ended well has left an output without an end.
  Status check_complete(const ClientCall& call) const;
  void receive(const ReceivedChunk& chunk, size_t index);
  // Waits a little for a service that is away; `end` as a status when the patience is over, or it is not away.
  Status wait_for_service(const RpcStatus& end);
  void cancel_outputs();

  ServiceClient& client_;
  const ClientCall& call_;
  const std::chrono::seconds patience_;
  const GenerationHooks& hooks_;
  GenerationResult& result_;
  bool stopped_ = false;                         // the hooks said so
  std::optional<Clock::time_point> gone_since_;  // while nothing has come since the service went away
};

}  // namespace octet
