#include "runtime/service/metrics/service_metrics.h"

#include <algorithm>
#include <utility>

namespace octet {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// vLLM's.
const Buckets kFirstTokenSeconds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                    1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const Buckets kTokenSeconds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                               0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Buckets kRequestSeconds = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                 30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const Buckets kStepTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Buckets kRequestTokens = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

using Time = SampleTimes::Clock::time_point;

void observe_between(prometheus::Histogram& histogram, const std::optional<Time>& from, const std::optional<Time>& to) {
  if (from && to) histogram.Observe(std::chrono::duration<double>(*to - *from).count());
}

std::string full_name(const char* name) { return std::string("octet_") + name; }

}  // namespace

ServiceMetrics::ServiceMetrics()
    : running_(gauge("num_requests_running", "Sequences that run.")),
      waiting_(gauge("num_requests_waiting", "Sequences that wait.")),
      kv_cache_usage_(gauge("kv_cache_usage_perc", "KV pages in use; 1 means all.")),
      prompt_tokens_(counter("prompt_tokens_total", "Prompt tokens read.")),
      generation_tokens_(counter("generation_tokens_total", "Tokens generated.")),
      preemptions_(counter("num_preemptions_total", "Sequences that lost their pages and were computed again.")),
      prefix_cache_queries_(counter("prefix_cache_queries", "Prompt tokens looked for in the prefix cache.")),
      prefix_cache_hits_(counter("prefix_cache_hits", "Prompt tokens found there.")),
      step_seconds_(counters("step_seconds_total", "Time of steps, by what it is for.")),
      successes_(counters("request_success_total", "Samples that finished, by reason.")),
      failures_(counters("request_failure_total", "Calls that ended with an error, by its code.")),
      tenant_requests_(counters("tenant_requests_total", "Requests taken, by tenant.")),
      tenant_refusals_(counters("tenant_refusals_total", "Requests beyond a tenant's policy, by what was too much.")),
      tenant_tokens_(counters("tenant_tokens_total", "Tokens of requests that have ended, by tenant and kind.")),
      time_to_first_token_(histogram("time_to_first_token_seconds", "From a request's arrival.", kFirstTokenSeconds)),
      inter_token_latency_(histogram("inter_token_latency_seconds", "Between tokens of a sample.", kTokenSeconds)),
      e2e_latency_(histogram("e2e_request_latency_seconds", "From arrival to the last token.", kRequestSeconds)),
      queue_time_(histogram("request_queue_time_seconds", "Until a request is first scheduled.", kRequestSeconds)),
      prefill_time_(histogram("request_prefill_time_seconds", "From then to its first token.", kRequestSeconds)),
      decode_time_(histogram("request_decode_time_seconds", "From the first token to the last.", kRequestSeconds)),
      request_prompt_tokens_(histogram("request_prompt_tokens", "Of a request.", kRequestTokens)),
      request_generation_tokens_(histogram("request_generation_tokens", "Of a sample.", kRequestTokens)),
      iteration_tokens_(histogram("iteration_tokens_total", "Token rows of a step.", kStepTokens)) {}

prometheus::Gauge& ServiceMetrics::gauge(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(full_name(name)).Help(help).Register(*registry_).Add({});
}

prometheus::Counter& ServiceMetrics::counter(const char* name, const char* help) {
  return prometheus::BuildCounter().Name(full_name(name)).Help(help).Register(*registry_).Add({});
}

prometheus::Family<prometheus::Counter>& ServiceMetrics::counters(const char* name, const char* help) {
  return prometheus::BuildCounter().Name(full_name(name)).Help(help).Register(*registry_);
}

prometheus::Histogram& ServiceMetrics::histogram(const char* name, const char* help, Buckets buckets) {
  return prometheus::BuildHistogram().Name(full_name(name)).Help(help).Register(*registry_).Add({}, std::move(buckets));
}

void ServiceMetrics::on_step(const StepFacts& facts, const EngineStats& stats) {
  running_.Set(static_cast<double>(stats.num_running));
  waiting_.Set(static_cast<double>(stats.num_waiting));
  const auto num_pages = static_cast<double>(std::max<int64_t>(1, stats.num_pages));
  kv_cache_usage_.Set(static_cast<double>(stats.num_pages_used) / num_pages);
  const auto count = [&](prometheus::Counter& counter, int64_t EngineStats::*total) {
    counter.Increment(static_cast<double>(stats.*total - seen_.*total));
  };
  count(prompt_tokens_, &EngineStats::num_prompt_tokens);
  count(generation_tokens_, &EngineStats::num_output_tokens);
  count(preemptions_, &EngineStats::num_preemptions);
  count(prefix_cache_queries_, &EngineStats::prefix_cache_queries);
  count(prefix_cache_hits_, &EngineStats::prefix_cache_hits);
  const auto count_seconds = [&](const char* part, double StepSeconds::*total) {
    const double seconds = stats.seconds.*total - seen_.seconds.*total;
    step_seconds_.Add({{"part", part}}).Increment(std::max(seconds, 0.0));
  };
  count_seconds("schedule", &StepSeconds::schedule);
  count_seconds("model", &StepSeconds::model);
  count_seconds("sample", &StepSeconds::sample);
  count_seconds("deliver", &StepSeconds::deliver);
  count_seconds("service", &StepSeconds::service);
  seen_ = stats;
  if (facts.num_rows > 0) iteration_tokens_.Observe(static_cast<double>(facts.num_rows));
}

void ServiceMetrics::on_first_token(double seconds_since_arrival) {
  time_to_first_token_.Observe(seconds_since_arrival);
}

void ServiceMetrics::on_inter_token(double seconds) { inter_token_latency_.Observe(seconds); }

void ServiceMetrics::on_sample(const FinishEvent& event, double seconds_since_arrival) {
  successes_.Add({{"finished_reason", std::string(finish_reason_name(event.reason))}}).Increment();
  e2e_latency_.Observe(seconds_since_arrival);
  observe_between(prefill_time_, event.times.first_scheduled, event.times.first_token);
  observe_between(decode_time_, event.times.first_token, event.times.last_token);
  request_generation_tokens_.Observe(static_cast<double>(event.num_output_tokens));
  if (event.id.sample != 0) return;  // these belong to the request
  observe_between(queue_time_, event.times.submitted, event.times.first_scheduled);
  request_prompt_tokens_.Observe(static_cast<double>(event.num_prompt_tokens));
}

void ServiceMetrics::on_failure(const std::string& reason) { failures_.Add({{"reason", reason}}).Increment(); }

void ServiceMetrics::on_tenant_request(const std::string& tenant) {
  if (!tenant.empty()) tenant_requests_.Add({{"tenant", tenant}}).Increment();
}

void ServiceMetrics::on_tenant_refusal(const std::string& tenant, const std::string& reason) {
  if (!tenant.empty()) tenant_refusals_.Add({{"tenant", tenant}, {"reason", reason}}).Increment();
}

void ServiceMetrics::on_tenant_sample(const std::string& tenant, const FinishEvent& event) {
  if (tenant.empty()) return;
  const auto count = [&](const char* kind, int64_t tokens) {
    tenant_tokens_.Add({{"tenant", tenant}, {"kind", kind}}).Increment(static_cast<double>(tokens));
  };
  count("generation", event.num_output_tokens);
  if (event.id.sample == 0) count("prompt", event.num_prompt_tokens);
}

}  // namespace octet
