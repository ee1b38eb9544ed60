// The two kinds of generating RPCs as gRPC sees them: reactors of its callback API, which are the sinks of their calls.
// A reactor keeps itself alive until gRPC is done with it. None of its functions waits.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>

#include "runtime/service/generation_call.h"
#include "runtime/service/octet.pb.h"
#include "runtime/service/open_rpcs.h"
#include "runtime/service/response_sink.h"

namespace octet {

// What both are made of. `rpcs` outlives them.
struct RpcContext {
  grpc::CallbackServerContext& context;
  OpenRpcs& rpcs;
  int64_t max_outbox_bytes = 0;
};

// Puts `from`, the next chunk of the same sample, behind `to`.
void append_chunk(v1::GenerateChunk&& from, v1::GenerateChunk& to);

// GenerateStream. What the client has not read yet waits in an outbox, in few large chunks; a client that lets the
// outbox grow over its limit is given up.
class StreamRpc final : public grpc::ServerWriteReactor<v1::GenerateChunk>, public ResponseSink, public OpenRpc {
 public:
  static std::shared_ptr<StreamRpc> create(const RpcContext& from);

  // Who is to know when the client gives up. Before the reactor is handed to gRPC.
  void set_call(const std::shared_ptr<GenerationCall>& call) { call_ = call; }

  void push(v1::GenerateChunk chunk) override;
  void finish(const grpc::Status& status) override;
  void drop_if_stalled(Clock::duration limit) override;

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  explicit StreamRpc(const RpcContext& from)
      : context_(from.context), rpcs_(from.rpcs), max_outbox_bytes_(from.max_outbox_bytes) {}
  void send_next();
  // The client reads too slowly: the RPC ends at once, whatever is on its way. Under mutex_.
  void give_up(const std::string& why);

  grpc::CallbackServerContext& context_;
  OpenRpcs& rpcs_;
  const int64_t max_outbox_bytes_;
  std::weak_ptr<GenerationCall> call_;
  std::shared_ptr<StreamRpc> self_;

  std::mutex mutex_;  // guards what follows; not held while gRPC sends, which may tell of it at once
  std::deque<v1::GenerateChunk> outbox_;
  int64_t outbox_bytes_ = 0;
  int64_t last_bytes_ = 0;     // of outbox_.back()
  v1::GenerateChunk current_;  // being written
  bool writing_ = false;
  Clock::time_point write_began_;
  std::string given_up_;  // why, if it was
  bool ending_ = false;   // nothing is pushed any more
  bool ended_ = false;    // Finish has been called
  grpc::Status status_;
};

// Generate: the answer as a whole.
class UnaryRpc final : public grpc::ServerUnaryReactor, public ResponseSink, public OpenRpc {
 public:
  static std::shared_ptr<UnaryRpc> create(const RpcContext& from, v1::GenerateResponse& response);

  void set_call(const std::shared_ptr<GenerationCall>& call) { call_ = call; }

  void push(v1::GenerateChunk chunk) override;
  void finish(const grpc::Status& status) override;
  void drop_if_stalled(Clock::duration) override {}

  void OnCancel() override;
  void OnDone() override;

 private:
  UnaryRpc(const RpcContext& from, v1::GenerateResponse& response)
      : context_(from.context), rpcs_(from.rpcs), response_(response) {}

  grpc::CallbackServerContext& context_;
  OpenRpcs& rpcs_;
  std::weak_ptr<GenerationCall> call_;
  std::shared_ptr<UnaryRpc> self_;

  std::mutex mutex_;                // guards what follows
  v1::GenerateResponse& response_;  // gRPC's, until Finish
  bool ended_ = false;
};

}  // namespace octet
