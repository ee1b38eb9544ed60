#include "runtime/checkpoint/checkpoint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "runtime/base/check.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/quote.h"
#include "runtime/checkpoint/config_file.h"
#include "runtime/checkpoint/generation_config.h"
#include "runtime/checkpoint/tensor_source.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

// Presence, dtype and shape of the tensor that a matrix lies in.
Status check_matrix(const TensorSource& source, const MatrixPlace& matrix) {
  OCTET_RETURN_IF_ERROR(source.check(matrix.tensor));
  const TensorPlace place = source.find(matrix.tensor);
  const std::string path = place.file->string();
  if (!place.tensor->weight_format()) {
    return invalid_input("{}: tensor '{}' has dtype {}; weights are BF16, F16 or F32", path, matrix.tensor,
                         place.tensor->dtype_text());
  }
  if (place.tensor->shape != matrix.shape) {
    return invalid_input("{}: tensor '{}' has shape [{}]; the configuration asks for [{}]", path, matrix.tensor,
                         fmt::join(place.tensor->shape, ", "), fmt::join(matrix.shape, ", "));
  }
  return ok_status();
}

// The file with sampling defaults and end tokens; empty: none.
fs::path generation_config_path(const fs::path& folder, const std::string& choice) {
  if (choice == "none") return {};
  if (!choice.empty()) return choice;
  std::error_code error;
  const fs::path path = folder / "generation_config.json";
  return fs::exists(path, error) ? path : fs::path();
}

}  // namespace

struct Checkpoint::Impl {
  Impl(fs::path folder_, std::unique_ptr<TensorSource> source_)
      : folder(std::move(folder_)), source(std::move(source_)), config(source->config()), remarks(source->remarks()) {
    if (config.rope_pairs == RopePairs::kNeighbours) {
      query_order = halves_from_neighbours(config.num_heads, config.head_dim);
      key_order = halves_from_neighbours(config.num_kv_heads, config.head_dim);
    }
  }

  // The model's tensors; counts what else is there.
  Status check_tensors();
  // End tokens that generation_config.json names count instead of the configuration's, as in the reference
  // implementation's generate.
  Status read_generation_config(const fs::path& path);
  // A view of a matrix that open() has checked.
  MatrixSource view(const MatrixId& id) const;

  fs::path folder;
  std::unique_ptr<TensorSource> source;
  ModelConfig config;
  GenerationDefaults defaults;
  std::unordered_set<const StoredTensor*> used;
  std::vector<std::string> remarks;
  std::vector<int32_t> query_order, key_order;  // empty where rows are in halves already
};

MatrixSource Checkpoint::Impl::view(const MatrixId& id) const {
  const MatrixPlace matrix = place_of(source->weight_map(), config, id);
  const TensorPlace place = source->find(matrix.tensor);
  MatrixSource view;
  view.format = place.tensor->weight_format().value();
  view.num_rows = matrix.num_rows;
  view.num_columns = matrix.num_columns;
  view.row_stride = matrix.num_columns;
  view.data = place.data + matrix_bytes(view.format, matrix.first_row, matrix.num_columns);
  if (matrix.rotated) view.row_order = id.role == MatrixRole::kQuery ? query_order : key_order;
  return view;
}

Status Checkpoint::Impl::check_tensors() {
  const Status checked = for_each_matrix(config, [&](const MatrixId& id) {
    const MatrixPlace matrix = place_of(source->weight_map(), config, id);
    OCTET_RETURN_IF_ERROR(check_matrix(*source, matrix));
    used.insert(source->find(matrix.tensor).tensor);
    return ok_status();
  });
  int64_t num_unused = source->num_absent();
  const StoredTensor* foreign = nullptr;
  for (const TensorPlace& place : source->tensors()) {
    if (used.contains(place.tensor)) continue;
    ++num_unused;
    if (!place.tensor->foreign_dtype.empty()) foreign = place.tensor;
  }
  if (!checked.ok()) {  // perhaps for what was passed over
    if (foreign == nullptr) return checked;
    return invalid_input("{} (tensor {} has dtype '{}', which no layer reads)", checked.message(), quote(foreign->name),
                         foreign->foreign_dtype);
  }
  if (num_unused > 0) {
    remarks.push_back(fmt::format("{}: {} tensor{} that no layer uses {} passed over", source->path().string(),
                                  num_unused, num_unused > 1 ? "s" : "", num_unused > 1 ? "are" : "is"));
  }
  return ok_status();
}

Status Checkpoint::Impl::read_generation_config(const fs::path& path) {
  if (path.empty()) return ok_status();
  OCTET_ASSIGN_OR_RETURN(const GenerationConfig generation, read_config(path, [&](std::string_view text) {
                           return parse_generation_config(text, config.vocab_size);
                         }));
  add_remarks(path, generation.left_out, remarks);
  defaults = generation.defaults;
  if (!generation.eos_ids.empty()) config.eos_ids = generation.eos_ids;
  return ok_status();
}

Result<ModelConfig> read_model_config(const fs::path& folder) {
  OCTET_ASSIGN_OR_RETURN(const fs::path path, resolve_model_folder(folder));
  std::error_code error;
  const bool native = !fs::exists(path / "config.json", error) && fs::exists(path / "params.json", error);
  std::vector<std::string> remarks;
  return read_model_config(path, native ? CheckpointFormat::kNative : CheckpointFormat::kHuggingFace, remarks);
}

Result<Checkpoint> Checkpoint::open(const fs::path& path, const CheckpointOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const fs::path folder, resolve_model_folder(path));
  OCTET_ASSIGN_OR_RETURN(std::unique_ptr<TensorSource> source, open_tensor_source(folder));
  auto impl = std::make_unique<Impl>(folder, std::move(source));
  OCTET_RETURN_IF_ERROR(impl->read_generation_config(generation_config_path(folder, options.generation_config)));
  OCTET_RETURN_IF_ERROR(impl->check_tensors());
  return Checkpoint(std::move(impl));
}

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const fs::path& Checkpoint::path() const { return impl_->folder; }
const ModelConfig& Checkpoint::config() const { return impl_->config; }
const GenerationDefaults& Checkpoint::generation_defaults() const { return impl_->defaults; }
const std::vector<std::string>& Checkpoint::remarks() const { return impl_->remarks; }

std::vector<TensorListing> Checkpoint::tensors() const {
  std::vector<TensorListing> listings;
  for (const auto& [tensor, file, data] : impl_->source->tensors()) {
    listings.push_back({.name = tensor->name,
                        .format = tensor->weight_format().value_or(WeightFormat()),
                        .dtype_text = std::string(tensor->dtype_text()),
                        .is_used = impl_->used.contains(tensor),
                        .shape = tensor->shape,
                        .file = file->filename().string()});
  }
  return listings;
}

int64_t Checkpoint::file_bytes() const { return impl_->source->num_bytes(); }

MatrixSource Checkpoint::matrix(const MatrixId& id) const {
  OCTET_CHECK(id.layer >= 0 && id.layer < config().num_layers && id.expert >= 0 && id.expert < config().num_experts,
              "no {}", matrix_label(id));
  return impl_->view(id);
}

MatrixSource Checkpoint::embedding() const { return matrix({MatrixRole::kEmbedding}); }
MatrixSource Checkpoint::final_norm() const { return matrix({MatrixRole::kFinalNorm}); }
MatrixSource Checkpoint::output() const { return matrix({MatrixRole::kOutput}); }

AttentionTensors Checkpoint::attention(int64_t layer) const {
  return {.norm = matrix({MatrixRole::kAttentionNorm, layer}),
          .q = matrix({MatrixRole::kQuery, layer}),
          .k = matrix({MatrixRole::kKey, layer}),
          .v = matrix({MatrixRole::kValue, layer}),
          .o = matrix({MatrixRole::kAttentionOutput, layer})};
}

MoeTensors Checkpoint::moe(int64_t layer) const {
  MoeTensors tensors;
  tensors.norm = matrix({MatrixRole::kExpertNorm, layer});
  tensors.gate = matrix({MatrixRole::kGate, layer});
  for (int64_t e = 0; e < config().num_experts; ++e) {
    tensors.experts.push_back({.w1 = matrix({MatrixRole::kW1, layer, e}),
                               .w3 = matrix({MatrixRole::kW3, layer, e}),
                               .w2 = matrix({MatrixRole::kW2, layer, e})});
  }
  return tensors;
}

void Checkpoint::drop_pages(const MatrixSource& matrix) {
  if (matrix.num_rows == 0 || matrix.num_columns == 0) return;
  int64_t first = 0;
  int64_t last = matrix.num_rows - 1;
  if (!matrix.row_order.empty()) {
    const auto [lowest, highest] = std::ranges::minmax(matrix.row_order);
    first = lowest;
    last = highest;
  }
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto data = reinterpret_cast<uintptr_t>(matrix.data);
  // Whole pages inside the matrix: a neighbour keeps what it has.
  const auto offset_of = [&](int64_t row) {
    return static_cast<uintptr_t>(matrix_bytes(matrix.format, row, matrix.row_stride));
  };
  const uintptr_t begin = (data + offset_of(first) + page - 1) / page * page;
  const uintptr_t end =
      (data + offset_of(last) + static_cast<uintptr_t>(matrix.format.row_bytes(matrix.num_columns))) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace octet
