// Session: an open model: checkpoint facts and tokenizer, then, once loaded, device and runner. In a job of several
// ranks every rank opens one; rank 0 runs the command, the others follow it.
#pragma once

#include <memory>
#include <optional>

#include "comm/comm_world.h"
#include "comm/watchdog.h"
#include "kernels/backend.h"
#include "runtime/base/status.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/engine/engine.h"
#include "runtime/model/distributed_runner.h"
#include "runtime/model/mixtral.h"
#include "runtime/session/kv_budget.h"
#include "runtime/session/session_observer.h"
#include "runtime/session/session_options.h"
#include "runtime/session/special_tokens.h"
#include "runtime/text/tokenizer.h"

namespace octet {

// What is needed of a model.
struct SessionNeeds {
  bool all_logits = false;  // logits of every row of a step, not only of one a sequence
};

// Says on the log what was left out of a checkpoint or passed over, a line each.
void say_remarks(const Checkpoint& checkpoint);

// Opening reads no weights, so that everything that can be wrong with a request is known before minutes go into
// loading.
class Session {
 public:
  // observer: null where nobody wants to hear anything.
  static Result<std::unique_ptr<Session>> open(SessionOptions options, const SessionNeeds& needs = {},
                                               std::unique_ptr<SessionObserver> observer = nullptr);
  // Sends the followers home, whatever state the session is in.
  ~Session();

  // Whether this rank runs the command. The others call follow() and return its status.
  bool leads() const { return world_->rank() == 0; }
  Status follow();

  // Reads the weights. Says on the log what was loaded. Call once.
  Status load();
  // Ends the job on every rank, with the status's exit code, from any thread.
  [[noreturn]] void end_job(const Status& status);

  // What load() will make room for.
  RequestBounds request_bounds() const;
  const EngineOptions& engine_options() const { return asked_.engine; }

  const ModelConfig& config() const { return config_; }
  const GenerationDefaults& generation_defaults() const { return generation_defaults_; }
  const SpecialTokens& special_tokens() const { return special_tokens_; }
  // Null when the checkpoint has no tokenizer file: everything that takes ids works.
  const Tokenizer* tokenizer() const { return tokenizer_ ? &*tokenizer_ : nullptr; }
  // kInvalidInput when there is none.
  Result<const Tokenizer*> require_tokenizer() const;
  const Topology& topology() const { return topology_; }
  const std::vector<std::vector<int32_t>>& experts_of_place() const { return options_.experts_of_place; }
  std::string device() const { return std::string(backend_->name()); }
  const Backend& backend() const { return *backend_; }
  // Tokens that the KV cache of all dp groups holds.
  int64_t kv_cache_tokens() const { return options_.num_pages * kPageTokens * topology_.dp; }
  // The job as rank 0 sees it, from any thread. Null in a rank alone.
  const Watchdog* watchdog() const { return watchdog_.get(); }
  const CommProgress& progress() const { return world_->progress(); }
  // REQUIRES: loaded.
  ModelRunner& runner() { return leader_ ? static_cast<ModelRunner&>(*leader_) : *runner_; }
  // Of one weight as it is kept, and of one element of the KV cache, scales included.
  double bytes_per_weight() const { return bytes_per_weight_; }
  double bytes_per_kv_element() const;
  double load_seconds() const { return load_seconds_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  Session(SessionOptions options, std::unique_ptr<SessionObserver> observer);
  Status open_model(const SessionNeeds& needs);
  Status plan_ranks();
  Status start_watchdog();
  Result<KvBudget> kv_budget() const;
  Status load_shard();
  int64_t page_bytes() const;  // of one page of the KV cache

  const SessionOptions asked_;
  const std::unique_ptr<SessionObserver> observer_;
  std::filesystem::path path_;
  std::optional<Checkpoint> checkpoint_;  // until it is loaded
  Topology topology_;
  MixtralOptions options_;
  ModelConfig config_;
  GenerationDefaults generation_defaults_;
  SpecialTokens special_tokens_;
  std::optional<Tokenizer> tokenizer_;
  std::unique_ptr<CommWorld> world_;
  std::unique_ptr<Watchdog> watchdog_;  // of a job of several ranks
  std::unique_ptr<ModelComms> comms_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Mixtral> runner_;
  std::unique_ptr<LeadingRunner> leader_;  // rank 0 of several
  bool followers_wait_ = false;            // for rank 0's first word
  double bytes_per_weight_ = 0;
  double load_seconds_ = 0;
};

}  // namespace octet
