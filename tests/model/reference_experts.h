// The experts that a model chooses, found out apart from what the model says of them: the router's logits are looked at
// on their way, and sorted.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/kernels/forwarding_backend.h"
#include "tests/model/model_fixture.h"

namespace octet::testing {

class RouterSpy final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  void route_top_k(TensorView logits, TensorView ids, TensorView weights, Stream& stream) override {
    const auto num_experts = static_cast<size_t>(logits.shape[1]);
    const auto top_k = static_cast<size_t>(ids.shape[1]);
    experts.resize(static_cast<size_t>(logits.rows()));
    for (size_t row = 0; row < experts.size(); ++row) {
      const float* of_row = logits.as<float>() + row * num_experts;
      std::vector<int32_t> order(num_experts);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, [of_row](int32_t a, int32_t b) { return of_row[a] > of_row[b]; });
      experts[row].insert(experts[row].end(), order.begin(), order.begin() + static_cast<ptrdiff_t>(top_k));
    }
    ForwardingBackend::route_top_k(logits, ids, weights, stream);
  }

  std::vector<std::vector<int32_t>> experts;  // of each row: [num_layers, top_k] once all layers are through
};

class ReferenceExperts {
 public:
  explicit ReferenceExperts(const std::filesystem::path& model) : ReferenceExperts(model, make_spy()) {}

  // Of each position of `ids`, at most 1024: [num_layers, top_k], each layer's most probable first.
  std::vector<std::vector<int32_t>> of(const std::vector<TokenId>& ids) {
    std::vector<int64_t> all(ids.size());
    std::iota(all.begin(), all.end(), 0);
    spy_.experts.clear();
    model_.run_chunk(ids, 0, std::ssize(ids), all);
    return spy_.experts;
  }

 private:
  static constexpr int64_t kMaxTokens = 1024;

  ReferenceExperts(const std::filesystem::path& model, std::unique_ptr<RouterSpy> spy)
      : spy_(*spy), model_(model, std::move(spy), kMaxTokens, options()) {}
  static std::unique_ptr<RouterSpy> make_spy() { return std::make_unique<RouterSpy>(backend_of({"cpu", 1, ""})); }
  static MixtralOptions options() {
    MixtralOptions options;
    options.max_rows = options.max_logit_rows = kMaxTokens;
    return options;
  }

  RouterSpy& spy_;  // the model's
  ModelOnOneRank model_;
};

}  // namespace octet::testing
