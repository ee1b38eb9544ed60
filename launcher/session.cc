#include "launcher/session.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "comm/agreement.h"
#include "comm/comm_factory.h"
#include "kernels/backend_factory.h"
#include "launcher/explain.h"
#include "launcher/fingerprint.h"
#include "launcher/interrupt.h"
#include "launcher/job/job_line.h"
#include "launcher/kv_budget.h"
#include "launcher/memory_plan.h"
#include "launcher/model_options.h"
#include "launcher/output.h"
#include "runtime/base/byte_text.h"
#include "runtime/base/check.h"
#include "runtime/base/host_limits.h"
#include "runtime/base/log.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/out_of_memory.h"
#include "runtime/base/read_file.h"
#include "runtime/checkpoint/check_weights.h"

namespace octet {
namespace {

// The longest sequence to make room for.
Result<int64_t> choose_context(const ModelFlags& flags, const ModelConfig& config) {
  if (flags.max_context > config.max_positions && !config.assumed_positions) {
    return invalid_input("--max-context {}: the checkpoint's context is {}", flags.max_context, config.max_positions);
  }
  return flags.max_context > 0 ? flags.max_context : config.max_positions;
}

std::optional<DType> kept_dtype(const std::string& weights) {
  if (weights == "bf16") return DType::kBF16;
  if (weights == "f16") return DType::kF16;
  return std::nullopt;
}

Result<std::optional<Tokenizer>> open_tokenizer_if_any(const ModelFlags& flags, const std::filesystem::path& path) {
  if (flags.tokenizer.empty() && find_tokenizer_file(path).empty()) return std::optional<Tokenizer>();
  OCTET_ASSIGN_OR_RETURN(Tokenizer tokenizer,
                         Tokenizer::open(flags.tokenizer.empty() ? path : std::filesystem::path(flags.tokenizer)));
  return std::optional<Tokenizer>(std::move(tokenizer));
}

// Whether all ranks are fine; of a rank alone, whether it is.
Status agree_if_many(CommWorld& world, const Status& mine) { return world.size() == 1 ? mine : agree(world, mine); }

}  // namespace

Result<const Tokenizer*> Session::require_tokenizer() const {
  if (tokenizer_) return &*tokenizer_;
  return invalid_input(
      "{}: no tokenizer.model, so only token ids can be used (--ids); --tokenizer names one that is elsewhere",
      path_.string());
}

Result<std::unique_ptr<Session>> Session::open(const ModelFlags& flags, const SessionNeeds& needs) {
  auto session = std::unique_ptr<Session>(new Session);
  session->path_ = model_path(flags);
  session->flags_ = flags;
  OCTET_ASSIGN_OR_RETURN(session->world_, join_job());
  report_stage(RankStage::kOpening);
  const Status opened = or_out_of_memory([&] { return session->open_model(needs); });
  report_stage(RankStage::kJoining);
  OCTET_RETURN_IF_ERROR(agree_if_many(*session->world_, opened));
  OCTET_ASSIGN_OR_RETURN(session->world_,
                         make_device_world(std::move(session->world_), session->backend_->memory_kind()));
  if (session->world_->size() > 1) OCTET_RETURN_IF_ERROR(session->plan_ranks(needs));
  report_stage(RankStage::kJoined);
  return session;
}

Status Session::open_model(const SessionNeeds& needs) {
  OCTET_ASSIGN_OR_RETURN(Checkpoint checkpoint,
                         Checkpoint::open(path_, {.generation_config = flags_.generation_config}));
  path_ = checkpoint.path();
  if (leads()) say_remarks(checkpoint);
  if (flags_.check_weights) OCTET_RETURN_IF_ERROR(check_finite(checkpoint));
  OCTET_ASSIGN_OR_RETURN(tokenizer_, open_tokenizer_if_any(flags_, path_));
  config_ = checkpoint.config();
  special_tokens_ = resolve_special_tokens(config_, tokenizer());
  generation_defaults_ = checkpoint.generation_defaults();
  bytes_per_weight_ = flags_.weights == "file"
                          ? static_cast<double>(checkpoint.file_bytes()) / static_cast<double>(config_.num_parameters())
                          : 2;
  checkpoint_ = std::move(checkpoint);
  OCTET_ASSIGN_OR_RETURN(const int64_t context, choose_context(flags_, config_));
  if (leads() && context > config_.max_positions) {
    log_info("--max-context {}: taken as it is; the checkpoint does not say how long its context is ({} is assumed)",
             context, config_.max_positions);
  }
  config_.max_positions = context;
  const int threads = flags_.threads > 0 ? flags_.threads : std::max(1, num_available_cpus() / world_->local_size());
  OCTET_ASSIGN_OR_RETURN(backend_, make_backend({flags_.device, threads, flags_.isa, world_->local_rank()}));
  const LayoutRequest layout{world_->size(), flags_.tp, flags_.dp, flags_.ep, flags_.etp};
  OCTET_ASSIGN_OR_RETURN(topology_, make_topology(layout, {config_.num_kv_heads, config_.num_experts}));

  options_.max_rows = std::max(flags_.prefill_chunk, flags_.max_batch);
  options_.max_logit_rows = needs.all_logits ? options_.max_rows : flags_.max_batch;
  options_.kv_dtype = kv_dtype(flags_).value_or(backend_->default_kv_dtype());
  options_.max_context = config_.max_positions;
  options_.load.dtype = kept_dtype(flags_.weights);
  options_.exchange = exchange_policy(flags_);
  options_.exchange_dtype = exchange_dtype(flags_);
  OCTET_ASSIGN_OR_RETURN(options_.experts_of_place, place_experts(flags_, config_.num_experts, topology_.ep));
  OCTET_RETURN_IF_ERROR(
      backend_->check_model({options_.load.dtype.value_or(common_matrix_dtype(*checkpoint_)), options_.kv_dtype,
                             config_.head_dim, config_.num_heads / config_.num_kv_heads}));
  OCTET_ASSIGN_OR_RETURN(options_.num_pages, choose_pages(kv_budget()));
  return ok_status();
}

KvBudget Session::kv_budget() const {
  const ShardPlan shard = make_shard_plan(topology_, world_->rank(), config_.num_kv_heads, config_.vocab_size,
                                          config_.intermediate_size, options_.experts_of_place);
  const bool is_devices_own = backend_->memory_kind() == MemoryKind::kCuda;
  const MemoryBound memory = is_devices_own
                                 ? MemoryBound{.name = "its device", .available = backend_->available_memory()}
                                 : tightest_memory(KernelFiles(), world_->local_size()).value_or(MemoryBound());
  return {.available = memory.available,
          .bound = memory.name,
          .is_devices_own = is_devices_own,
          .weight_bytes = shard_bytes(*checkpoint_, shard, options_.load.dtype),
          .workspace_bytes =
              workspace_bytes(config_, topology_, shard, {is_devices_own, options_.max_rows, options_.max_logit_rows}),
          .page_bytes = page_bytes(),
          .wanted_pages = flags_.max_batch * pages_for(config_.max_positions),
          .requested_kv_bytes = static_cast<int64_t>(flags_.kv_cache),
          .num_ranks = world_->size()};
}

// What the ranks of a job must have alike, and the watch over them.
Status Session::plan_ranks(const SessionNeeds& needs) {
  const auto hashes = fingerprint(flags_, path_);
  OCTET_RETURN_IF_ERROR(agree(*world_, hashes.status()));
  OCTET_RETURN_IF_ERROR(check_same(*world_, *hashes));
  // The poorest decides how many pages all have.
  const int64_t mine = options_.num_pages;
  for (const auto& bytes : world_->host().all_gather(std::as_bytes(std::span(&mine, 1)))) {
    int64_t pages = 0;
    std::memcpy(&pages, bytes.data(), sizeof(pages));
    options_.num_pages = std::max<int64_t>(1, std::min(options_.num_pages, pages));
  }
  const auto milliseconds = [](double seconds) {
    return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  };
  WatchdogOptions watch;
  watch.limits = {milliseconds(flags_.heartbeat_limit), milliseconds(flags_.collective_limit)};
  watch.interval = std::min(watch.interval, watch.limits.silence / 4);
  watch.tell = [](const JobFailure& failure) {
    return failure.exit_code == Status(StatusCode::kRankLost, "").exit_code() &&
           JobLine::get().report({.stage = {}, .verdict = failure.line});
  };
  watch.on_failure = needs.on_job_failure;
  // The network of the cluster file. A job on one host needs none but its loopback interface.
  const char* interface = std::getenv(kInterfaceVariable);
  if (interface != nullptr && world_->local_size() < world_->size()) watch.address = interface;
  OCTET_ASSIGN_OR_RETURN(watchdog_, Watchdog::start(*world_, std::move(watch)));
  followers_wait_ = true;
  return ok_status();
}

// Rank 0's first word to its followers: load, or go home.
Session::~Session() {
  if (watchdog_ == nullptr || !leads()) return;
  if (!check_interrupted().ok()) watchdog_->end_job(check_interrupted());
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
  const bool shows_progress = world_->rank() == 0;
  const int64_t total_bytes = checkpoint_->file_bytes();
  ProgressBar bar("loading", shows_progress ? total_bytes : 0, human_bytes(static_cast<double>(total_bytes)));
  options_.load.progress = [&](int64_t bytes) {
    bar.update(bytes);
    world_->progress().tick();
  };
  comms_ = std::make_unique<ModelComms>(*world_, topology_);
  auto runner =
      or_out_of_memory([this] { return Mixtral::create(*checkpoint_, topology_, *backend_, *comms_, options_); });
  OCTET_RETURN_IF_ERROR(agree_if_many(*world_, runner.status()));
  runner_ = *std::move(runner);
  options_.load.progress = nullptr;
  bar.clear();
  load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double bytes = static_cast<double>(runner_->weight_bytes_read());
  log_info("{}: read {} of {} in {:.2f} s ({}/s) on {}, KV cache of {} tokens ({})", path_.string(), human_bytes(bytes),
           human_bytes(static_cast<double>(total_bytes)), load_seconds_, human_bytes(bytes / load_seconds_),
           backend_->name(), options_.num_pages * kPageTokens,
           human_bytes(static_cast<double>(options_.num_pages * page_bytes())));
  if (flags_.explain && leads()) {
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

EngineOptions Session::engine_options() const {
  return {.prefill_chunk = flags_.prefill_chunk,
          .max_batch = flags_.max_batch,
          .prefix_cache = flags_.prefix_cache == "on"};
}

RequestBounds Session::request_bounds() const {
  const EngineOptions options = engine_options();
  return {.vocab_size = config_.vocab_size,
          .max_context = std::min(config_.max_positions, options_.num_pages * kPageTokens),
          .max_num_samples = options.max_num_samples,
          .max_logprobs = options.max_logprobs};
}

}  // namespace octet
