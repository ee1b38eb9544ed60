#include "bench/serve_bench.h"

#include <algorithm>
#include <chrono>

namespace octet {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPollInterval{50};  // between questions whether to go on

// Greedy, and as long as asked whatever the tokens are.
ClientCall call_of(const ServeRequest& request) {
  ClientCall call;
  call.input = request.prompt;
  call.params.max_tokens = request.output_tokens;
  call.params.ignore_eos = true;
  call.params.sampling.temperature = 0;
  return call;
}

// A load under way.
class LoadDriver {
 public:
  LoadDriver(ServiceClient& client, const std::vector<ServeRequest>& load, int64_t concurrency)
      : client_(client), load_(load), concurrency_(concurrency), start_(Clock::now()) {
    run_.concurrency = concurrency;
    for (const ServeRequest& request : load) {
      run_.records.push_back({request.kind, std::ssize(request.prompt), 0, 0, request.arrival, 0, 0});
    }
  }

  bool done() const { return next_ == load_.size() && num_active_ == 0; }

  // Sends what is due, then waits a little for something to happen.
  Status step() {
    while (next_ < load_.size() && is_due(next_)) OCTET_RETURN_IF_ERROR(begin(next_++));
    client_.poll(std::min(kPollInterval, until_next()));
    return ok_status();
  }

  Result<ServeRun> take() {
    for (size_t i = 0; i < load_.size(); ++i) {
      const ServeRecord& record = run_.records[i];
      run_.seconds = std::max(run_.seconds, record.last_token);
      if (record.end.ok() && record.output_tokens != load_[i].output_tokens) {
        return failed("request {} has {} tokens instead of {}", i, record.output_tokens, load_[i].output_tokens);
      }
    }
    return std::move(run_);
  }

 private:
  double now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  bool is_due(size_t i) const { return concurrency_ > 0 ? num_active_ < concurrency_ : load_[i].arrival <= now(); }

  milliseconds until_next() const {
    if (concurrency_ > 0 || next_ == load_.size()) return kPollInterval;
    return milliseconds(static_cast<int64_t>(1e3 * std::clamp(load_[next_].arrival - now(), 0.0, 1.0)));
  }

  Status begin(size_t i) {
    if (concurrency_ > 0) run_.records[i].arrival = now();
    ServiceClient::StreamCallbacks callbacks;
    callbacks.on_chunk = [this, i](const ReceivedChunk& chunk) { receive(chunk, run_.records[i]); };
    callbacks.on_end = [this, i](const RpcStatus& status) {
      run_.records[i].end = status;
      --num_active_;
    };
    ++num_active_;
    return client_.generate(call_of(load_[i]), std::move(callbacks)).status();
  }

  void receive(const ReceivedChunk& chunk, ServeRecord& record) {
    record.cached_tokens = std::max(record.cached_tokens, chunk.num_cached_tokens);
    if (chunk.token_ids.empty()) return;
    const double time = now();
    if (record.output_tokens == 0) {
      record.first_token = time;
    } else {
      record.gaps.push_back(time - record.last_token);
    }
    record.last_token = time;
    record.output_tokens += std::ssize(chunk.token_ids);
  }

  ServiceClient& client_;
  const std::vector<ServeRequest>& load_;
  const int64_t concurrency_;
  const Clock::time_point start_;
  ServeRun run_;
  size_t next_ = 0;  // the first request that is not sent yet
  int64_t num_active_ = 0;
};

}  // namespace

Status ServeBench::check(int64_t vocab_size, int64_t max_context, uint64_t seed) {
  constexpr size_t kChecked = 3, kTogether = 8;
  constexpr int64_t kCheckedPrompt = 96, kCheckedOutput = 16;
  const int64_t prompt_tokens = std::clamp<int64_t>(max_context - kCheckedOutput, 1, kCheckedPrompt);
  const auto requests = draw_load({.num_requests = kTogether,
                                   .prompt_tokens = LengthDistribution::fixed(prompt_tokens),
                                   .output_tokens = LengthDistribution::fixed(kCheckedOutput),
                                   .seed = ~seed},
                                  0, vocab_size);
  OCTET_ASSIGN_OR_RETURN(const auto together, generate(requests));
  for (const Tokens& tokens : together) {
    if (std::ssize(tokens) != kCheckedOutput) {
      return failed("a request for {} tokens got {}", kCheckedOutput, tokens.size());
    }
  }
  ServingInfo serving;
  OCTET_RETURN_IF_ERROR(client_.get_serving_info(serving).status);
  if (serving.device != "cpu") return ok_status();  // there other batches may take other kernels
  for (size_t i = 0; i < kChecked; ++i) {
    OCTET_ASSIGN_OR_RETURN(const auto alone, generate({requests[i]}));
    if (alone[0] != together[i]) return failed("request {} has other tokens alone than among {}", i, kTogether);
  }
  return ok_status();
}

Result<std::vector<ServeBench::Tokens>> ServeBench::generate(const std::vector<ServeRequest>& requests) {
  std::vector<Tokens> outputs(requests.size());
  Status status;
  size_t num_ended = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    ServiceClient::StreamCallbacks callbacks;
    callbacks.on_chunk = [&outputs, i](const ReceivedChunk& chunk) {
      outputs[i].insert(outputs[i].end(), chunk.token_ids.begin(), chunk.token_ids.end());
    };
    callbacks.on_end = [&](const RpcStatus& end) {
      ++num_ended;
      if (status.ok()) status = end.status;
    };
    OCTET_RETURN_IF_ERROR(client_.generate(call_of(requests[i]), std::move(callbacks)).status());
  }
  while (num_ended < requests.size()) {
    client_.poll(kPollInterval);
    if (status.ok()) status = may_go_on_();
    if (status.code() == StatusCode::kInterrupted) return status;
  }
  OCTET_RETURN_IF_ERROR(status);
  return outputs;
}

Result<ServeRun> ServeBench::run(const std::vector<ServeRequest>& load, int64_t concurrency) {
  LoadDriver driver(client_, load, concurrency);
  ServingInfo before, after;
  OCTET_RETURN_IF_ERROR(client_.get_serving_info(before).status);
  while (!driver.done()) {
    OCTET_RETURN_IF_ERROR(may_go_on_());
    OCTET_RETURN_IF_ERROR(driver.step());
  }
  OCTET_RETURN_IF_ERROR(client_.get_serving_info(after).status);
  OCTET_ASSIGN_OR_RETURN(ServeRun run, driver.take());
  run.steps = after.step_seconds.since(before.step_seconds);
  return run;
}

}  // namespace octet
