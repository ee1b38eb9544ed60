// A model on one rank, driven directly by step plans: what the tests of the forward pass need.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "comm/local_world.h"
#include "kernels/backend_factory.h"
#include "kernels/cpu/isa.h"
#include "runtime/model/mixtral.h"

namespace octet::testing {

inline std::filesystem::path source_dir() { return OCTET_SOURCE_DIR; }
inline std::filesystem::path golden_dir() { return source_dir() / "tests/data/golden"; }
inline std::filesystem::path demo_model() { return source_dir() / "configs/models/octet-demo"; }
// The checkpoint that a folder of golden outputs belongs to.
inline std::filesystem::path golden_checkpoint(const std::string& name) {
  return name == "octet-demo" ? demo_model() : golden_dir() / name;
}

// Every device this machine can run: the reference, and the cpu with each of its instruction sets.
inline std::vector<BackendOptions> devices_here() {
  std::vector<BackendOptions> devices{{"reference", 0, ""}};
  std::istringstream names(supported_isas());
  for (std::string isa; std::getline(names >> std::ws, isa, ',');) devices.push_back({"cpu", 0, isa});
  return devices;
}

inline std::string device_name(const BackendOptions& options) {
  return options.device + (options.isa.empty() ? "" : "_" + options.isa);
}

inline std::unique_ptr<Backend> backend_of(const BackendOptions& options) {
  auto backend = make_backend(options);
  OCTET_CHECK(backend.ok(), "{}", backend.status().message());
  return *std::move(backend);
}

class ModelOnOneRank {
 public:
  // max_tokens: the longest sequence it has KV pages for.
  ModelOnOneRank(const std::filesystem::path& path, const BackendOptions& backend_options, int64_t max_tokens,
                 MixtralOptions options = {})
      : ModelOnOneRank(path, backend_of(backend_options), max_tokens, std::move(options)) {}
  ModelOnOneRank(const std::filesystem::path& path, std::unique_ptr<Backend> backend, int64_t max_tokens,
                 MixtralOptions options = {})
      : backend_(std::move(backend)) {
    auto checkpoint = Checkpoint::open(path);
    OCTET_CHECK(checkpoint.ok(), "{}", checkpoint.status().message());
    options.num_pages = pages_for(max_tokens);
    auto model = Mixtral::create(*checkpoint, Topology{}, *backend_, comms_, options);
    OCTET_CHECK(model.ok(), "{}", model.status().message());
    model_ = *std::move(model);
    pages_.resize(static_cast<size_t>(options.num_pages));
    std::iota(pages_.rbegin(), pages_.rend(), 0);  // pages out of order
  }

  Mixtral& model() { return *model_; }

  // Runs tokens [begin, end) of one sequence in a single step; logits of the positions in `wanted` that lie there.
  std::vector<std::vector<float>> run_chunk(const std::vector<TokenId>& ids, int64_t begin, int64_t end,
                                            const std::vector<int64_t>& wanted) {
    GroupPlan group;
    group.token_ids.assign(ids.begin() + begin, ids.begin() + end);
    group.sequences = {{0, static_cast<int32_t>(end - begin), static_cast<int32_t>(begin)}};
    group.page_tables = {pages_};
    for (const int64_t position : wanted) {
      if (position >= begin && position < end) group.logit_rows.push_back(static_cast<int32_t>(position - begin));
    }
    return run(std::move(group));
  }

  // One step over several sequences: of sequence s, the tokens [done[s], ids[s].size()), whose last one's logits come
  // back. Sequence s owns every s-th run of pages, so all of them together fit into the model's pages.
  std::vector<std::vector<float>> run_batch(const std::vector<std::vector<TokenId>>& ids,
                                            const std::vector<int64_t>& done) {
    GroupPlan group;
    const size_t pages_each = pages_.size() / ids.size();
    for (size_t s = 0; s < ids.size(); ++s) {
      const auto first = static_cast<int32_t>(group.token_ids.size());
      group.token_ids.insert(group.token_ids.end(), ids[s].begin() + done[s], ids[s].end());
      const auto count = static_cast<int32_t>(group.token_ids.size()) - first;
      group.sequences.push_back({first, count, static_cast<int32_t>(done[s])});
      const auto begin = pages_.begin() + static_cast<ptrdiff_t>(s * pages_each);
      group.page_tables.emplace_back(begin, begin + static_cast<ptrdiff_t>(pages_each));
      group.logit_rows.push_back(first + count - 1);
    }
    return run(std::move(group));
  }

  // Logits at `positions` (ascending) of a prompt run in steps of `chunk` tokens.
  std::vector<std::vector<float>> logits(const std::vector<TokenId>& ids, const std::vector<int64_t>& positions,
                                         int64_t chunk) {
    std::vector<std::vector<float>> all;
    const int64_t size = static_cast<int64_t>(ids.size());
    for (int64_t begin = 0; begin < size; begin += chunk) {
      for (auto& row : run_chunk(ids, begin, std::min(begin + chunk, size), positions)) all.push_back(std::move(row));
    }
    return all;
  }

  // The `count` most probable next tokens, one after the other.
  std::vector<TokenId> greedy(std::vector<TokenId> ids, size_t count) {
    std::vector<TokenId> chosen;
    int64_t done = 0;
    while (chosen.size() < count) {
      const int64_t size = static_cast<int64_t>(ids.size());
      const auto row = run_chunk(ids, done, size, {size - 1}).front();
      chosen.push_back(static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin()));
      ids.push_back(chosen.back());
      done = size;
    }
    return chosen;
  }

 private:
  std::vector<std::vector<float>> run(GroupPlan group) {
    const auto result = model_->run({0, {std::move(group)}});
    OCTET_CHECK(result.ok(), "{}", result.status().message());
    std::vector<std::vector<float>> rows;
    const float* logits = result->logits.as<float>();
    for (int64_t r = 0; r < result->logits.rows(); ++r) {
      rows.emplace_back(logits + r * model_->vocab_size(), logits + (r + 1) * model_->vocab_size());
    }
    return rows;
  }

  LocalWorld world_;
  ModelComms comms_{world_, Topology{}};
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Mixtral> model_;
  std::vector<int32_t> pages_;
};

}  // namespace octet::testing
