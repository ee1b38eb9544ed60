// RPCs as gRPC sees them: reactors of its callback API; those of generating calls are their calls' sinks.
// A reactor keeps itself alive until gRPC is done with it. None of its functions waits.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>

#include "runtime/service/grpc/generation_call.h"
#include "runtime/service/grpc/open_rpcs.h"
#include "runtime/service/grpc/response_sink.h"
#include "runtime/service/octet.pb.h"

namespace octet {

// What both are made of. `rpcs` outlives them.
struct RpcContext {
  grpc::CallbackServerContext& context;
  OpenRpcs& rpcs;
  int64_t max_outbox_bytes = 0;
};

// Puts `from`, the next chunk of the same sample, behind `to`.
void append_chunk(v1::GenerateChunk&& from, v1::GenerateChunk& to);

// The call of an RPC, once there is one. Thread-safe.
class CallOfRpc {
 public:
  void set(const std::shared_ptr<GenerationCall>& call) {
    const std::lock_guard lock(mutex_);
    call_ = call;
  }
  void end(const grpc::Status& status) const;

 private:
  mutable std::mutex mutex_;
  std::weak_ptr<GenerationCall> call_;
};

// GenerateStream. What the client has not read yet waits in an outbox, in few large chunks; a client that lets the
// outbox grow over its limit is given up.
class StreamRpc final : public grpc::ServerWriteReactor<v1::GenerateChunk>, public ResponseSink, public OpenRpc {
 public:
  static std::shared_ptr<StreamRpc> create(const RpcContext& from);

  // Who is to know when the client gives up; at once, if it has.
  void set_call(const std::shared_ptr<GenerationCall>& call);

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
  CallOfRpc call_;
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

// An RPC with one answer, which it has once it is ended.
class AnswerRpc : public grpc::ServerUnaryReactor, public OpenRpc {
 public:
  static std::shared_ptr<AnswerRpc> create(const RpcContext& from);

  // Gives the answer, or the error; nothing if it was ended before.
  void end(const grpc::Status& status);
  // From the end on: gRPC holds the whole answer until the client has read it.
  void drop_if_stalled(Clock::duration limit) override;
  void OnDone() override;

 protected:
  explicit AnswerRpc(const RpcContext& from) : from_(from) {}
  static void begin(const std::shared_ptr<AnswerRpc>& rpc);
  // Makes a change of the answer, unless the RPC has ended: the answer is gRPC's then.
  template <typename Change>
  void change(Change make) {
    const std::lock_guard lock(mutex_);
    if (!ended_) make();
  }

  const RpcContext from_;

 private:
  std::shared_ptr<AnswerRpc> self_;
  std::mutex mutex_;  // guards what follows
  bool ended_ = false;
  bool given_up_ = false;
  Clock::time_point end_began_;
};

// Generate: the answer as a whole. Where it grows over the outbox's limit the call ends.
class UnaryRpc final : public AnswerRpc, public ResponseSink {
 public:
  static std::shared_ptr<UnaryRpc> create(const RpcContext& from, v1::GenerateResponse& response);

  void set_call(const std::shared_ptr<GenerationCall>& call);

  void push(v1::GenerateChunk chunk) override;
  void finish(const grpc::Status& status) override { end(status); }
  void OnCancel() override;

 private:
  UnaryRpc(const RpcContext& from, v1::GenerateResponse& response) : AnswerRpc(from), response_(response) {}

  CallOfRpc call_;
  v1::GenerateResponse& response_;
  int64_t num_bytes_ = 0;  // of what came for it; the engine's thread
};

}  // namespace octet
