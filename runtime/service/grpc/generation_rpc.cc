#include "runtime/service/grpc/generation_rpc.h"

#include <grpc/grpc.h>

#include <utility>

#include "runtime/service/grpc/call_deadline.h"
#include "runtime/service/grpc/rpc_status.h"

namespace octet {
namespace {

constexpr int64_t kMergedBytes = 64 << 10;  // a waiting chunk of this size is merged with no further one

// Ends the RPC at once, whatever is on its way. TryCancel() knows CANCELLED only.
void cut_off(grpc::CallbackServerContext& context, const std::string& why) {
  grpc_call_cancel_with_status(context.c_call(), GRPC_STATUS_RESOURCE_EXHAUSTED, why.c_str(), nullptr);
}

std::string why_stalled(OpenRpc::Clock::duration limit) {
  return fmt::format("the client has read nothing for {:g} s although output waits for it",
                     std::chrono::duration<double>(limit).count());
}

// The client is gone, or its deadline is.
grpc::Status why_abandoned(const grpc::CallbackServerContext& context) {
  const bool late = GenerationCall::Clock::now() >= call_deadline(context);
  return late ? rpc_error(grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline has passed")
              : rpc_error(grpc::StatusCode::CANCELLED, "the client has gone");
}

}  // namespace

void CallOfRpc::end(const grpc::Status& status) const {
  std::shared_ptr<GenerationCall> call;
  {
    const std::lock_guard lock(mutex_);
    call = call_.lock();
  }
  if (call != nullptr) call->end(status);
}

void append_chunk(v1::GenerateChunk&& from, v1::GenerateChunk& to) {
  to.mutable_text()->append(from.text());
  from.clear_text();
  to.MergeFrom(from);
}

std::shared_ptr<StreamRpc> StreamRpc::create(const RpcContext& from) {
  auto rpc = std::shared_ptr<StreamRpc>(new StreamRpc(from));
  rpc->self_ = rpc;
  from.rpcs.add(*rpc);
  return rpc;
}

void StreamRpc::set_call(const std::shared_ptr<GenerationCall>& call) {
  call_.set(call);
  if (context_.IsCancelled()) OnCancel();
}

void StreamRpc::push(v1::GenerateChunk chunk) {
  const auto size = static_cast<int64_t>(chunk.ByteSizeLong());
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    if (!outbox_.empty() && outbox_.back().index() == chunk.index() && last_bytes_ < kMergedBytes) {
      append_chunk(std::move(chunk), outbox_.back());
      last_bytes_ += size;
    } else {
      outbox_.push_back(std::move(chunk));
      last_bytes_ = size;
    }
    outbox_bytes_ += size;
    if (outbox_bytes_ > max_outbox_bytes_) {
      give_up(fmt::format("the client reads too slowly: more than {} bytes of output wait for it", max_outbox_bytes_));
    }
  }
  send_next();
}

void StreamRpc::finish(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    status_ = status;
    if (!status.ok()) outbox_.clear();
  }
  send_next();
}

// Unless something is under way. What comes next is chosen under the lock, and only one thread can have chosen it.
void StreamRpc::send_next() {
  bool is_end = false;
  {
    const std::lock_guard lock(mutex_);
    is_end = outbox_.empty();
    if (writing_ || ended_ || (is_end && !ending_)) return;
    if (is_end) {
      ended_ = true;
    } else {
      current_ = std::move(outbox_.front());
      outbox_.pop_front();
      outbox_bytes_ -= static_cast<int64_t>(current_.ByteSizeLong());
      writing_ = true;
      write_began_ = Clock::now();
    }
  }
  if (is_end) {
    Finish(status_);
  } else {
    StartWrite(&current_);
  }
}

void StreamRpc::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) outbox_.clear();
  }
  if (!ok) {
    OnCancel();
    finish(rpc_error(grpc::StatusCode::CANCELLED, "the client has gone"));
  }
  send_next();
}

void StreamRpc::drop_if_stalled(Clock::duration limit) {
  const std::lock_guard lock(mutex_);
  if (writing_ && Clock::now() - write_began_ >= limit) {
    give_up(why_stalled(limit));
  }
}

// What waits to be written would be in the way of a Finish.
void StreamRpc::give_up(const std::string& why) {
  if (!given_up_.empty()) return;
  given_up_ = why;
  cut_off(context_, why);
}

void StreamRpc::OnCancel() {
  std::string given_up;
  {
    const std::lock_guard lock(mutex_);
    given_up = given_up_;
  }
  call_.end(given_up.empty() ? why_abandoned(context_) : rpc_error(grpc::StatusCode::RESOURCE_EXHAUSTED, given_up));
}

void StreamRpc::OnDone() {
  rpcs_.remove(*this);
  self_.reset();
}

std::shared_ptr<AnswerRpc> AnswerRpc::create(const RpcContext& from) {
  auto rpc = std::shared_ptr<AnswerRpc>(new AnswerRpc(from));
  begin(rpc);
  return rpc;
}

void AnswerRpc::begin(const std::shared_ptr<AnswerRpc>& rpc) {
  rpc->self_ = rpc;
  rpc->from_.rpcs.add(*rpc);
}

void AnswerRpc::end(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true)) return;
    end_began_ = Clock::now();
  }
  Finish(status);
}

void AnswerRpc::drop_if_stalled(Clock::duration limit) {
  const std::lock_guard lock(mutex_);
  if (!ended_ || Clock::now() - end_began_ < limit || std::exchange(given_up_, true)) return;
  cut_off(from_.context, why_stalled(limit));
}

void AnswerRpc::OnDone() {
  from_.rpcs.remove(*this);
  self_.reset();
}

std::shared_ptr<UnaryRpc> UnaryRpc::create(const RpcContext& from, v1::GenerateResponse& response) {
  auto rpc = std::shared_ptr<UnaryRpc>(new UnaryRpc(from, response));
  begin(rpc);
  return rpc;
}

void UnaryRpc::push(v1::GenerateChunk chunk) {
  num_bytes_ += static_cast<int64_t>(chunk.ByteSizeLong());
  if (num_bytes_ > from_.max_outbox_bytes) {
    return call_.end(rpc_error(
        grpc::StatusCode::RESOURCE_EXHAUSTED,
        fmt::format("the answer has more than {} bytes: GenerateStream gives it in parts", from_.max_outbox_bytes)));
  }
  change([&] {
    const int index = static_cast<int>(chunk.index());
    while (response_.outputs_size() <= index) response_.add_outputs();
    append_chunk(std::move(chunk), *response_.mutable_outputs(index));
  });
}

void UnaryRpc::set_call(const std::shared_ptr<GenerationCall>& call) {
  call_.set(call);
  if (from_.context.IsCancelled()) OnCancel();
}

void UnaryRpc::OnCancel() { call_.end(why_abandoned(from_.context)); }

}  // namespace octet
