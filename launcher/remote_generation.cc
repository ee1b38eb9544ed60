#include "launcher/remote_generation.h"

#include <algorithm>
#include <thread>

#include "runtime/base/log.h"

namespace octet {
namespace {

constexpr std::chrono::milliseconds kPollInterval{50};  // between looks at the hooks

// Whether the service may be back soon, with nothing lost: it went away, has drained for too long, or is loading the
// model.
bool may_come_back(const RpcStatus& end) {
  if (end.code == RpcCode::kDeadlineExceeded) return end.has_advice;  // else it is our own deadline
  return end.code == RpcCode::kUnavailable || end.code == RpcCode::kFailedPrecondition;
}

}  // namespace

Status RemoteGeneration::run() {
  result_.begin(call_.params.num_samples);
  while (const auto call = next_call()) {
    OCTET_ASSIGN_OR_RETURN(const RpcStatus end, stream(*call));
    if (end.ok()) {
      OCTET_RETURN_IF_ERROR(check_complete(*call));
      continue;
    }
    if (!stopped_) OCTET_RETURN_IF_ERROR(wait_for_service(end));
    if (stopped_) {
      cancel_outputs();
      return ok_status();
    }
  }
  return ok_status();
}

std::optional<ClientCall> RemoteGeneration::next_call() const {
  const auto unfinished = std::ranges::find(result_.outputs, FinishReason::kNone, &GenerationOutput::finish_reason);
  if (unfinished == result_.outputs.end()) return std::nullopt;
  ClientCall call = call_;
  if (result_.num_tokens() == 0) return call;
  call.params.num_samples = 1;
  call.resume = {unfinished->token_ids, unfinished - result_.outputs.begin()};
  return call;
}

Result<RpcStatus> RemoteGeneration::stream(const ClientCall& call) {
  std::optional<RpcStatus> end;
  ServiceClient::StreamCallbacks callbacks;
  callbacks.on_chunk = [&](const ReceivedChunk& chunk) {
    receive(chunk, static_cast<size_t>(call.resume ? call.resume->sample_index : chunk.index));
  };
  callbacks.on_end = [&](const RpcStatus& status) { end = status; };
  OCTET_ASSIGN_OR_RETURN(const ServiceClient::StreamId id, client_.generate(call, std::move(callbacks)));
  while (!end) {
    if (!stopped_ && hooks_.should_stop()) {
      stopped_ = true;
      client_.cancel(id);
    }
    client_.poll(kPollInterval);
  }
  return *end;
}

Status RemoteGeneration::check_complete(const ClientCall& call) const {
  for (size_t i = 0; i < result_.outputs.size(); ++i) {
    const bool asked = !call.resume || call.resume->sample_index == static_cast<int64_t>(i);
    if (asked && result_.outputs[i].finish_reason == FinishReason::kNone) {
      return failed("{}: the stream of output {} ended before the output did", client_.server(), i);
    }
  }
  return ok_status();
}

void RemoteGeneration::receive(const ReceivedChunk& chunk, size_t index) {
  if (index >= result_.outputs.size()) return;  // not one that was asked for
  gone_since_.reset();
  GenerationOutput& output = result_.outputs[index];
  for (size_t i = 0; i < chunk.token_ids.size(); ++i) {
    result_.add_token(index, chunk.token_ids[i], i < chunk.logprobs.size() ? &chunk.logprobs[i] : nullptr);
  }
  output.finish_reason = chunk.finish;
  output.stop_text = chunk.stop_text;
  output.stop_token_id = chunk.stop_token_id;
  result_.num_prompt_tokens = std::max(result_.num_prompt_tokens, chunk.num_prompt_tokens);
  output.text += chunk.text;
  if (!chunk.text.empty()) hooks_.on_text(static_cast<int64_t>(index), chunk.text);
}

Status RemoteGeneration::wait_for_service(const RpcStatus& end) {
  if (!may_come_back(end) || patience_.count() == 0) return end.status;
  if (!gone_since_) {
    gone_since_ = Clock::now();
    log_warning("{}; waiting up to {} s for the service, to go on where it stopped", end.status.message(),
                patience_.count());
  }
  if (Clock::now() - *gone_since_ > patience_) return end.status;
  for (int i = 0; i < 4 && !stopped_; ++i) {
    std::this_thread::sleep_for(kPollInterval);
    stopped_ = hooks_.should_stop();
  }
  return ok_status();
}

void RemoteGeneration::cancel_outputs() {
  for (GenerationOutput& output : result_.outputs) {
    if (output.finish_reason == FinishReason::kNone) output.finish_reason = FinishReason::kCancelled;
  }
}

}  // namespace octet
