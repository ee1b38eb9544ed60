#include "runtime/session/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "comm/agreement.h"
#include "comm/comm_factory.h"
#include "kernels/backend_factory.h"
#include "runtime/base/check.h"
#include "runtime/base/host_limits.h"
#include "runtime/base/human_bytes.h"
#include "runtime/base/log.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/out_of_memory.h"
#include "runtime/base/read_file.h"
#include "runtime/checkpoint/check_weights.h"
#include "runtime/session/explain.h"
#include "runtime/session/fingerprint.h"
#include "runtime/session/kv_budget.h"

namespace octet {
namespace {

// The longest sequence to make room for.
Result<int64_t> choose_context(int64_t asked, const ModelConfig& config) {
  if (asked > config.max_positions && !config.assumed_positions) {
    return invalid_input("--max-context {}: the checkpoint's context is {}", asked, config.max_positions);
  }
  return asked > 0 ? asked : config.max_positions;
}

// asked: empty: the model's own.
Result<std::optional<Tokenizer>> open_tokenizer_if_any(const std::filesystem::path& asked,
                                                       const std::filesystem::path& model) {
  if (asked.empty() && find_tokenizer_file(model).empty()) return std::optional<Tokenizer>();
  OCTET_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::open(asked.empty() ? model : asked));
  return std::optional<Tokenizer>(std::move(tokenizer));
}

// Whether all ranks are fine; of a rank alone, whether it is.
Status agree_if_many(CommWorld& world, const Status& mine) { return world.size() == 1 ? mine : agree(world, mine); }

}  // namespace

void say_remarks(const Checkpoint& checkpoint) {
  for (const std::string& remark : checkpoint.remarks()) log_warning("{}", remark);
}

Session::Session(SessionOptions options, std::unique_ptr<SessionObserver> observer)
    : asked_(std::move(options)),
      observer_(observer ? std::move(observer) : std::make_unique<SessionObserver>()),
      path_(asked_.model) {}

Result<const Tokenizer*> Session::require_tokenizer() const {
  if (tokenizer_) return &*tokenizer_;
  return invalid_input(
      "{}: no tokenizer.model, so only token ids can be used (--ids); --tokenizer names one that is elsewhere",
      path_.string());
}

Result<std::unique_ptr<Session>> Session::open(SessionOptions options, const SessionNeeds& needs,
                                               std::unique_ptr<SessionObserver> observer) {
  auto session = std::unique_ptr<Session>(new Session(std::move(options), std::move(observer)));
  SessionObserver& hears = *session->observer_;
  hears.on_stage(SessionStage::kJoining);
  OCTET_ASSIGN_OR_RETURN(session->world_, make_comm_world());
  hears.on_stage(SessionStage::kOpening);
  const Status opened = or_out_of_memory([&] { return session->open_model(needs); });
  hears.on_stage(SessionStage::kJoining);
  OCTET_RETURN_IF_ERROR(agree_if_many(*session->world_, opened));
  OCTET_ASSIGN_OR_RETURN(session->world_,
                         make_device_world(std::move(session->world_), session->backend_->memory_kind()));
  if (session->world_->size() > 1) OCTET_RETURN_IF_ERROR(session->plan_ranks());
  hears.on_stage(SessionStage::kJoined);
  return session;
}

Status Session::open_model(const SessionNeeds& needs) {
  OCTET_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(path_, asked_.checkpoint));
  path_ = checkpoint.path();
  if (leads()) say_remarks(checkpoint);
  if (asked_.check_weights) OCTET_RETURN_IF_ERROR(check_finite(checkpoint));
  OCTET_ASSIGN_OR_RETURN(tokenizer_, open_tokenizer_if_any(asked_.tokenizer, path_));
  config_ = checkpoint.config();
  special_tokens_ = resolve_special_tokens(config_, tokenizer());
  generation_defaults_ = checkpoint.generation_defaults();
  bytes_per_weight_ =
      asked_.weights ? static_cast<double>(asked_.weights->row_bytes(1))
                     : static_cast<double>(checkpoint.file_bytes()) / static_cast<double>(config_.num_parameters());
  checkpoint_ = std::move(checkpoint);
  OCTET_ASSIGN_OR_RETURN(const int64_t context, choose_context(asked_.max_context, config_));
  if (leads() && context > config_.max_positions) {
    log_info("--max-context {}: taken as it is; the checkpoint does not say how long its context is ({} is assumed)",
             context, config_.max_positions);
  }
  config_.max_positions = context;
  BackendOptions device = asked_.backend;
  if (device.num_threads == 0) device.num_threads = std::max(1, num_available_cpus() / world_->local_size());
  device.gpu = world_->local_rank();
  OCTET_ASSIGN_OR_RETURN(backend_, make_backend(device));
  LayoutRequest layout = asked_.layout;
  layout.world = world_->size();
  OCTET_ASSIGN_OR_RETURN(topology_, make_topology(layout, {config_.num_kv_heads, config_.num_experts}));

  options_ = model_options(asked_, backend_->default_kv_dtype());
  if (needs.all_logits) options_.max_logit_rows = options_.max_rows;
  options_.max_context = config_.max_positions;
  OCTET_ASSIGN_OR_RETURN(options_.experts_of_place, place_experts(asked_.placement, config_.num_experts, topology_.ep));
  OCTET_RETURN_IF_ERROR(
      backend_->check_model({options_.load.format.value_or(common_matrix_format(*checkpoint_)), options_.kv_dtype,
                             config_.head_dim, config_.num_heads / config_.num_kv_heads}));
  OCTET_ASSIGN_OR_RETURN(const KvBudget budget, kv_budget());
  OCTET_ASSIGN_OR_RETURN(options_.num_pages, choose_pages(budget));
  return ok_status();
}

Result<KvBudget> Session::kv_budget() const {
  const ShardPlan shard = make_shard_plan(topology_, world_->rank(), config_.num_kv_heads, config_.vocab_size,
                                          config_.intermediate_size, options_.experts_of_place);
  const bool is_devices_own = backend_->memory_kind() == MemoryKind::kCuda;
  const MemoryBound memory = is_devices_own
                                 ? MemoryBound{.name = "its device", .available = backend_->available_memory()}
                                 : tightest_memory(KernelFiles(), world_->local_size()).value_or(MemoryBound());
  OCTET_ASSIGN_OR_RETURN(const int64_t working_memory,
                         Mixtral::working_memory(config_, topology_, world_->rank(),
                                                 {backend_->memory_kind(), backend_->supports_capture()}, options_));
  return KvBudget{.available = memory.available,
                  .bound = memory.name,
                  .is_devices_own = is_devices_own,
                  .weight_bytes = shard_bytes(*checkpoint_, shard, options_.load.format),
                  .workspace_bytes = working_memory,
                  .page_bytes = page_bytes(),
                  .wanted_pages = asked_.engine.max_batch * pages_for(config_.max_positions),
                  .requested_kv_bytes = asked_.kv_cache_bytes,
                  .num_ranks = world_->size()};
}

// What the ranks of a job must have alike, and the watch over them.
Status Session::plan_ranks() {
  const auto hashes = fingerprint(asked_.also_alike, path_);
  OCTET_RETURN_IF_ERROR(agree(*world_, hashes.status()));
  OCTET_RETURN_IF_ERROR(check_same(*world_, *hashes));
  // The poorest decides how many pages all have.
  const int64_t mine = options_.num_pages;
  for (const auto& bytes : world_->host().all_gather(std::as_bytes(std::span(&mine, 1)))) {
    int64_t pages = 0;
    std::memcpy(&pages, bytes.data(), sizeof(pages));
    options_.num_pages = std::max<int64_t>(1, std::min(options_.num_pages, pages));
  }
  return start_watchdog();
}

Status Session::start_watchdog() {
  WatchdogOptions watch;
  watch.limits = asked_.watch;
  watch.interval = std::min(watch.interval, watch.limits.silence / 4);
  watch.tell = [this](const JobFailure& failure) { return observer_->tell(failure); };
  watch.on_failure = [this](const JobFailure& failure) { observer_->on_job_failure(failure); };
  // A job on one host needs no network but its loopback interface.
  if (world_->local_size() < world_->size()) watch.address = asked_.watch_address;
  OCTET_ASSIGN_OR_RETURN(watchdog_, Watchdog::start(*world_, std::move(watch)));
  followers_wait_ = true;
  return ok_status();
}

// Rank 0's first word to its followers: load, or go home.
Session::~Session() {
  if (watchdog_ == nullptr || !leads()) return;
  if (const Status status = observer_->check_interrupted(); !status.ok()) watchdog_->end_job(status);
  leader_.reset();
  if (followers_wait_) {
    std::vector<std::byte> go_home;
    world_->host().broadcast(go_home, /*root=*/0);
  }
}

void Session::end_job(const Status& status) {
  if (watchdog_ != nullptr) watchdog_->end_job(status);
  end_process(status.exit_code());
}

Status Session::follow() {
  std::vector<std::byte> first_word;
  world_->progress().set_idle(true);
  world_->host().broadcast(first_word, /*root=*/0);
  if (first_word.empty()) return ok_status();
  OCTET_RETURN_IF_ERROR(load_shard());
  const Status status = octet::follow(*world_, *runner_);
  if (!status.ok()) watchdog_->end_job(status);
  return ok_status();
}

Status Session::load() {
  OCTET_CHECK(checkpoint_.has_value(), "loaded twice");
  if (world_->size() > 1) {
    std::vector<std::byte> load_now(1);
    world_->host().broadcast(load_now, /*root=*/0);
    followers_wait_ = false;
  }
  OCTET_RETURN_IF_ERROR(load_shard());
  if (world_->size() > 1) leader_ = std::make_unique<LeadingRunner>(*world_, *runner_);
  return ok_status();
}

Status Session::load_shard() {
  const auto start = std::chrono::steady_clock::now();
  const int64_t total_bytes = checkpoint_->file_bytes();
  options_.load.progress = [&](int64_t bytes) {
    if (leads()) observer_->on_loading(bytes, total_bytes);
    world_->progress().tick();
  };
  comms_ = std::make_unique<ModelComms>(*world_, topology_);
  auto runner =
      or_out_of_memory([this] { return Mixtral::create(*checkpoint_, topology_, *backend_, *comms_, options_); });
  options_.load.progress = nullptr;
  const Status loaded = agree_if_many(*world_, runner.status());
  observer_->on_loading_end();
  OCTET_RETURN_IF_ERROR(loaded);
  runner_ = *std::move(runner);
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double bytes = static_cast<double>(runner_->weight_bytes_read());
  log_info("{}: read {} of {} in {:.2f} s ({}/s) on {}, KV cache of {} tokens ({})", path_.string(), human_bytes(bytes),
           human_bytes(total_bytes), load_seconds_, human_bytes(bytes / load_seconds_), backend_->name(),
           options_.num_pages * kPageTokens, human_bytes(options_.num_pages * page_bytes()));
  if (asked_.explain && leads()) {
    for (const std::string& line : explain_layout(config_, topology_, options_.experts_of_place, runner_->row_layouts(),
                                                  options_.exchange_dtype)) {
      log_info("{}", line);
    }
  }
  checkpoint_.reset();
  return ok_status();
}

int64_t Session::page_bytes() const { return kv_page_bytes(config_, topology_.tp, options_.kv_dtype); }

double Session::bytes_per_kv_element() const {
  const int64_t elements =
      2 * config_.num_layers * config_.num_kv_heads / topology_.tp * config_.head_dim * kPageTokens;
  return static_cast<double>(page_bytes()) / static_cast<double>(elements);
}

RequestBounds Session::request_bounds() const {
  const EngineOptions& options = engine_options();
  return {.vocab_size = config_.vocab_size,
          .max_context = std::min(config_.max_positions, options_.num_pages * kPageTokens),
          .max_num_samples = options.max_num_samples,
          .max_logprobs = options.max_logprobs};
}

}  // namespace octet
