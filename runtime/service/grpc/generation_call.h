// GenerationCall: one Generate or GenerateStream call from its arrival to its end.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/service/grpc/answer.h"
#include "runtime/service/grpc/request_parser.h"
#include "runtime/service/grpc/response_sink.h"
#include "runtime/service/tenants.h"

namespace octet {

// Shared by the RPC, the registry and the engine's thread. A call ends once, for whoever is first: the engine, because
// all samples have finished; the client, its deadline, an Abort, a lost rank, because nobody waits any more. Then the
// client hears at once, and the engine drops the request before its next step.
class GenerationCall {
 public:
  using Clock = SampleTimes::Clock;
  // Told once, before the client is.
  using OnEnd = std::function<void(const GenerationCall&, const grpc::Status&)>;

  GenerationCall(std::string request_id, Caller caller, Clock::time_point deadline, std::shared_ptr<ResponseSink> sink,
                 OnEnd on_end)
      : request_id_(std::move(request_id)),
        caller_(std::move(caller)),
        deadline_(deadline),
        arrival_(Clock::now()),
        sink_(std::move(sink)),
        on_end_(std::move(on_end)) {}

  const std::string& request_id() const { return request_id_; }
  const Caller& caller() const { return caller_; }
  Clock::time_point deadline() const { return deadline_; }
  Clock::time_point arrival() const { return arrival_; }

  // Ends the call; whether it had not ended before. Any thread.
  bool end(const grpc::Status& status) {
    if (ended_.exchange(true)) return false;
    on_end_(*this, status);
    sink_->finish(status);
    return true;
  }
  bool ended() const { return ended_.load(); }

  // What is asked, once it is parsed: kInvalidInput with the field. Before the call goes to the engine.
  Status set_job(GenerationJob job, const ServedModel& model);
  const GenerationJob& job() const { return *job_; }
  // The job's request, whose tokens leave with it: the answer has those that it shows.
  Request take_request();
  Answer& answer() { return *answer_; }
  // A token of a sample has come; when the one before it did, if there was one. The engine's thread.
  std::optional<Clock::time_point> note_token(int32_t sample, Clock::time_point now) {
    return std::exchange(last_tokens_[static_cast<size_t>(sample)], now);
  }

 private:
  const std::string request_id_;
  const Caller caller_;
  const Clock::time_point deadline_;
  const Clock::time_point arrival_;
  const std::shared_ptr<ResponseSink> sink_;
  const OnEnd on_end_;
  std::atomic<bool> ended_ = false;
  std::optional<GenerationJob> job_;
  std::optional<Answer> answer_;
  std::vector<std::optional<Clock::time_point>> last_tokens_;  // of each sample
};

}  // namespace octet
