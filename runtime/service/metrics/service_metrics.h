// What a service counts, for Prometheus. Names and buckets are vLLM's, with our prefix.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

#include "runtime/engine/engine.h"

namespace octet {

// Thread-safe, but on_step: one thread.
class ServiceMetrics {
 public:
  ServiceMetrics();

  // After a step.
  void on_step(const StepFacts& facts, const EngineStats& stats);
  // A sample has finished, other than by cancelling.
  void on_sample(const FinishEvent& event, double seconds_since_arrival);
  // Tokens of a sample after its first one came in so many seconds each.
  void on_inter_token(double seconds);
  void on_first_token(double seconds_since_arrival);
  // A call ended with an error, "resource_exhausted".
  void on_failure(const std::string& reason);
  // Of a tenant, by its name; one without a name is not counted apart. A request of it was taken, or refused
  // ("requests", "tokens", "priority"), or a sample has ended.
  void on_tenant_request(const std::string& tenant);
  void on_tenant_refusal(const std::string& tenant, const std::string& reason);
  void on_tenant_sample(const std::string& tenant, const FinishEvent& event);

  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
  prometheus::Gauge& gauge(const char* name, const char* help);
  prometheus::Counter& counter(const char* name, const char* help);
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help);
  prometheus::Histogram& histogram(const char* name, const char* help, prometheus::Histogram::BucketBoundaries buckets);

  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  prometheus::Gauge& running_;
  prometheus::Gauge& waiting_;
  prometheus::Gauge& kv_cache_usage_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generation_tokens_;
  prometheus::Counter& preemptions_;
  prometheus::Counter& prefix_cache_queries_;
  prometheus::Counter& prefix_cache_hits_;
  prometheus::Family<prometheus::Counter>& step_seconds_;
  prometheus::Family<prometheus::Counter>& successes_;
  prometheus::Family<prometheus::Counter>& failures_;
  prometheus::Family<prometheus::Counter>& tenant_requests_;
  prometheus::Family<prometheus::Counter>& tenant_refusals_;
  prometheus::Family<prometheus::Counter>& tenant_tokens_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& e2e_latency_;
  prometheus::Histogram& queue_time_;
  prometheus::Histogram& prefill_time_;
  prometheus::Histogram& decode_time_;
  prometheus::Histogram& request_prompt_tokens_;
  prometheus::Histogram& request_generation_tokens_;
  prometheus::Histogram& iteration_tokens_;
  EngineStats seen_;  // the engine's totals that are counted already
};

}  // namespace octet
