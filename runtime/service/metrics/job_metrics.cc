#include "runtime/service/metrics/job_metrics.h"

#include <array>
#include <limits>
#include <string>

namespace octet {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

void add_counter(MetricFamily& family, const char* label, std::string name, double value) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label.push_back({label, std::move(name)});
  metric.counter.value = value;
}

// The sum of the buckets is the count: they are read while the rank goes on.
void add_histogram(MetricFamily& family, const char* label, std::string name, const PhaseTotals& totals) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label.push_back({label, std::move(name)});
  uint64_t count = 0;
  for (size_t bucket = 0; bucket < totals.num_by_time.size(); ++bucket) {
    count += static_cast<uint64_t>(totals.num_by_time[bucket]);
    const bool is_last = bucket == kCollectiveSeconds.size();
    const double bound = is_last ? std::numeric_limits<double>::infinity() : kCollectiveSeconds[bucket];
    metric.histogram.bucket.push_back({count, bound});
  }
  metric.histogram.sample_count = count;
  metric.histogram.sample_sum = static_cast<double>(totals.nanoseconds) * 1e-9;
}

// Rows that go to their experts and come home.
constexpr std::array kExchangePhases = {Phase::kDispatchCounts, Phase::kDispatch, Phase::kExpertReduce,
                                        Phase::kCombine};

}  // namespace

std::vector<MetricFamily> JobMetrics::Collect() const {
  std::vector<MetricFamily> families;
  if (watch_.phase_totals) {
    MetricFamily time{"octet_alltoall_seconds",
                      "Of each collective of the expert exchange on rank 0, waiting included.",
                      MetricType::Histogram,
                      {}};
    MetricFamily bytes{
        "octet_alltoall_bytes_total", "Bytes that rank 0 sent in the expert exchange.", MetricType::Counter, {}};
    const auto all_totals = watch_.phase_totals();
    for (const Phase phase : kExchangePhases) {
      const PhaseTotals& totals = all_totals[static_cast<size_t>(phase)];
      add_histogram(time, "phase", std::string(phase_name(phase)), totals);
      add_counter(bytes, "phase", std::string(phase_name(phase)), static_cast<double>(totals.bytes_sent));
    }
    families.push_back(std::move(time));
    families.push_back(std::move(bytes));
  }
  if (watch_.heartbeat_ages) {
    MetricFamily ages{"octet_rank_heartbeat_age_seconds", "Since each rank was last heard of.", MetricType::Gauge, {}};
    const std::vector<double> seconds = watch_.heartbeat_ages();
    for (size_t rank = 0; rank < seconds.size(); ++rank) {
      ClientMetric& metric = ages.metric.emplace_back();
      metric.label.push_back({"rank", std::to_string(rank)});
      metric.gauge.value = seconds[rank];
    }
    families.push_back(std::move(ages));
  }
  return families;
}

}  // namespace octet
