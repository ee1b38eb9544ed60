// GenerationCall: one call of a client from its arrival to its end, in nobody's protocol.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/engine/engine_thread.h"
#include "runtime/service/tenants.h"
#include "runtime/session/call_end.h"
#include "runtime/session/output_assembler.h"

namespace octet {

// Where the answer to one call goes. Thread-safe, and never waits for the client.
class CallSink : public OutputSink {
 public:
  // Ends the call: when all went well behind everything pushed, with an error at once. Only the first call counts.
  virtual void finish(const CallEnd& end) = 0;
};

class GenerationCall;

// Who counts what calls bring. Called by the engine's thread, before the client hears.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void on_token(GenerationCall& call, const TokenEvent& event) = 0;
  virtual void on_sample(const GenerationCall& call, const FinishEvent& event) = 0;
};

// Shared by the RPC, the registry and the engine's thread. A call ends once, for whoever is first: the engine, because
// all samples have finished; the client, its deadline, an Abort, a lost rank, because nobody waits any more. Then the
// client hears at once, and the engine drops the request before its next step.
class GenerationCall final : public EngineCall {
 public:
  // Told once, before the client is.
  using OnEnd = std::function<void(const GenerationCall&, const CallEnd&)>;

  // The observer outlives it.
  GenerationCall(std::string request_id, Caller caller, Clock::time_point deadline, std::shared_ptr<CallSink> sink,
                 CallObserver& observer, OnEnd on_end)
      : request_id_(std::move(request_id)),
        caller_(std::move(caller)),
        deadline_(deadline),
        arrival_(Clock::now()),
        sink_(std::move(sink)),
        observer_(observer),
        on_end_(std::move(on_end)) {}

  const std::string& request_id() const { return request_id_; }
  const Caller& caller() const { return caller_; }
  Clock::time_point deadline() const override { return deadline_; }
  Clock::time_point arrival() const { return arrival_; }

  // Ends the call; whether it had not ended before. Any thread.
  bool end(const CallEnd& end) {
    if (ended_.exchange(true)) return false;
    on_end_(*this, end);
    sink_->finish(end);
    return true;
  }
  bool ended() const override { return ended_.load(); }

  // What is asked, once it is parsed: kInvalidInput with the field. Before the call goes to the engine.
  // tokenizer: null where the model has none; outlives the call.
  Status set_call(GenerateCall call, const Tokenizer* tokenizer);
  // A token of a sample has come; when the one before it did, if there was one. The engine's thread.
  std::optional<Clock::time_point> note_token(int32_t sample, Clock::time_point now) {
    return std::exchange(last_tokens_[static_cast<size_t>(sample)], now);
  }

  Request take_request() override { return octet::take_request(*call_); }
  std::optional<Clock::time_point> time_limit() const override;
  void on_deadline() override;
  void on_refusal(const Status& status) override;
  bool on_token(const TokenEvent& event) override;
  void on_finish(const FinishEvent& event) override;
  void on_prompt_logprobs(const PromptTokenEvent& event) override { assembler_->on_prompt_logprobs(event); }
  bool done() const override { return assembler_->done(); }

 private:
  const std::string request_id_;
  const Caller caller_;
  const Clock::time_point deadline_;
  const Clock::time_point arrival_;
  const std::shared_ptr<CallSink> sink_;
  CallObserver& observer_;
  const OnEnd on_end_;
  std::atomic<bool> ended_ = false;
  std::optional<GenerateCall> call_;
  std::optional<OutputAssembler> assembler_;
  std::vector<std::optional<Clock::time_point>> last_tokens_;  // of each sample
};

}  // namespace octet
