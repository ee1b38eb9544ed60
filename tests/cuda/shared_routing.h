// Two models that send rows to the same experts: one records which, the other follows. Rounding may turn the choice
// between two experts that are as good as equal, and logits far apart with it; so choices are compared on their own,
// and logits under equal choices.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>
#include <vector>

#include "tests/kernels/forwarding_backend.h"

namespace octet::testing {

// The choices of one operation.
struct RoutedRows {
  std::vector<float> logits;  // [rows, num_experts]
  std::vector<int32_t> ids;   // [rows, top_k]
};
using Routing = std::deque<RoutedRows>;

class RecordingBackend final : public ForwardingBackend {
 public:
  RecordingBackend(std::unique_ptr<Backend> inner, Routing& routing)
      : ForwardingBackend(std::move(inner)), routing_(routing) {}

  void route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) override {
    inner().route_top_k(logits, ids, weights, stream);
    RoutedRows rows{std::vector<float>(static_cast<size_t>(logits.num_elements())),
                    std::vector<int32_t>(static_cast<size_t>(ids.num_elements()))};
    download(logits, rows.logits.data(), stream);
    download(ids, rows.ids.data(), stream);
    stream.synchronize();
    routing_.push_back(std::move(rows));
  }

 private:
  Routing& routing_;
};

// Takes the recorded choices, in the order of the operations, whatever it would choose itself.
class FollowingBackend final : public ForwardingBackend {
 public:
  FollowingBackend(std::unique_ptr<Backend> inner, Routing& routing)
      : ForwardingBackend(std::move(inner)), routing_(routing) {}

  void route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) override {
    inner().route_top_k(logits, ids, weights, stream);
    std::vector<float> own_logits(static_cast<size_t>(logits.num_elements()));
    std::vector<int32_t> own_ids(static_cast<size_t>(ids.num_elements()));
    download(logits, own_logits.data(), stream);
    download(ids, own_ids.data(), stream);
    stream.synchronize();
    const RoutedRows wanted = std::move(routing_.front());
    routing_.pop_front();
    OCTET_CHECK(wanted.ids.size() == own_ids.size(), "other rows than were recorded");
    const int64_t num_experts = logits.row_elements();
    const int64_t top_k = ids.row_elements();
    std::vector<float> own_weights;
    for (int64_t r = 0; r < logits.rows(); ++r) {
      const float* row = own_logits.data() + r * num_experts;
      const int32_t* chosen = wanted.ids.data() + r * top_k;
      compare(wanted.logits.data() + r * num_experts, num_experts, {own_ids.data() + r * top_k, chosen}, top_k);
      float total = 0;
      for (int64_t j = 0; j < top_k; ++j) total += std::exp(row[chosen[j]] - row[chosen[0]]);
      for (int64_t j = 0; j < top_k; ++j) own_weights.push_back(std::exp(row[chosen[j]] - row[chosen[0]]) / total);
    }
    upload(wanted.ids.data(), ids, stream);
    upload(own_weights.data(), weights, stream);
  }

  // Over all rows that chose other experts by themselves: the largest lead, in the recorded logits, of the last chosen
  // expert before the first one left out, relative to the largest logit of the row; and how many such rows there were.
  float largest_turned_margin() const { return largest_turned_margin_; }
  int64_t num_turned() const { return num_turned_; }

 private:
  void compare(const float* recorded, int64_t num_experts, std::pair<const int32_t*, const int32_t*> own_and_wanted,
               int64_t top_k) {
    std::vector<int32_t> own(own_and_wanted.first, own_and_wanted.first + top_k);
    std::vector<int32_t> wanted(own_and_wanted.second, own_and_wanted.second + top_k);
    std::sort(own.begin(), own.end());
    std::sort(wanted.begin(), wanted.end());
    if (own == wanted) return;
    std::vector<float> sorted(recorded, recorded + num_experts);
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    const float largest = std::max(std::abs(sorted.front()), std::abs(sorted.back()));
    const float margin = sorted[static_cast<size_t>(top_k) - 1] - sorted[static_cast<size_t>(top_k)];
    largest_turned_margin_ = std::max(largest_turned_margin_, margin / largest);
    ++num_turned_;
  }

  Routing& routing_;
  float largest_turned_margin_ = 0;
  int64_t num_turned_ = 0;
};

}  // namespace octet::testing
