#include "runtime/checkpoint/checkpoint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "runtime/base/check.h"
#include "runtime/base/foreign_file.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/model_folder.h"
#include "runtime/base/quote.h"
#include "runtime/checkpoint/checkpoint_files.h"
#include "runtime/checkpoint/checkpoint_names.h"
#include "runtime/checkpoint/generation_config.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

// Reads a configuration file whole and hands its text to `parse`; errors get the path in front.
template <typename Parse>
auto read_config(const fs::path& path, Parse parse) -> decltype(parse(std::string_view())) {
  OCTET_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > kMaxConfigBytes) {
    return invalid_input("{}: {} bytes, over the limit of {}", path.string(), file.bytes().size(), kMaxConfigBytes);
  }
  auto config = parse(file.text());
  if (!config.ok()) return refuse_file(path, file.text(), FileContent::kJson, config.status());
  return config;
}

bool is_weight_dtype(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

// Presence, dtype and shape of the tensor that a matrix lies in.
Status check_matrix(const CheckpointFiles& files, const MatrixPlace& matrix) {
  OCTET_RETURN_IF_ERROR(files.check(matrix.tensor));
  const TensorPlace place = files.find(matrix.tensor);
  const std::string path = place.file->path().string();
  if (!place.tensor->foreign_dtype.empty() || !is_weight_dtype(place.tensor->dtype)) {
    return invalid_input("{}: tensor '{}' has dtype {}; weights are BF16, F16 or F32", path, matrix.tensor,
                         place.tensor->dtype_text());
  }
  if (place.tensor->shape != matrix.shape) {
    return invalid_input("{}: tensor '{}' has shape [{}]; the configuration asks for [{}]", path, matrix.tensor,
                         fmt::join(place.tensor->shape, ", "), fmt::join(matrix.shape, ", "));
  }
  return ok_status();
}

const LayoutNames& choose_names(CheckpointFormat format, const CheckpointFiles& files) {
  if (format == CheckpointFormat::kNative) return kNativeNames;
  const bool fused = files.find("model.layers.0.mlp.experts.gate_up_proj").tensor != nullptr;
  return fused ? kHfFusedNames : kHfNames;
}

// The file with sampling defaults and end tokens; empty: none.
fs::path generation_config_path(const fs::path& folder, const std::string& choice) {
  if (choice == "none") return {};
  if (!choice.empty()) return choice;
  std::error_code error;
  const fs::path path = folder / "generation_config.json";
  return fs::exists(path, error) ? path : fs::path();
}

void add_remarks(const fs::path& path, const std::vector<std::string>& lines, std::vector<std::string>& remarks) {
  for (const std::string& line : lines) remarks.push_back(fmt::format("{}: {}", path.string(), line));
}

}  // namespace

struct Checkpoint::Impl {
  Impl(fs::path folder_, ModelConfig config_, CheckpointFiles files_, CheckpointFormat format)
      : folder(std::move(folder_)),
        config(std::move(config_)),
        files(std::move(files_)),
        layout(choose_names(format, files), config) {
    if (config.rope_pairs == RopePairs::kNeighbours) {
      query_order = halves_from_neighbours(config.num_heads, config.head_dim);
      key_order = halves_from_neighbours(config.num_kv_heads, config.head_dim);
    }
  }

  // The layers' tensors; counts what else is there.
  Status check_tensors();
  // End tokens that generation_config.json names count instead of the configuration's, as in the reference
  // implementation's generate.
  Status read_generation_config(const fs::path& path);
  // A view of a matrix that open() has checked.
  MatrixSource view(const MatrixPlace& matrix) const;

  fs::path folder;
  ModelConfig config;
  GenerationDefaults defaults;
  CheckpointFiles files;
  CheckpointLayout layout;
  std::unordered_set<const StoredTensor*> used;
  std::vector<std::string> remarks;
  std::vector<int32_t> query_order, key_order;  // empty where rows are in halves already
};

MatrixSource Checkpoint::Impl::view(const MatrixPlace& matrix) const {
  const TensorPlace place = files.find(matrix.tensor);
  MatrixSource source;
  source.format = place.tensor->dtype;
  source.num_rows = matrix.num_rows;
  source.num_columns = matrix.num_columns;
  source.row_stride = matrix.num_columns;
  source.data = place.file->data(*place.tensor) + matrix_bytes(source.format, matrix.first_row, matrix.num_columns);
  if (matrix.order == RowOrder::kQuery) source.row_order = query_order;
  if (matrix.order == RowOrder::kKey) source.row_order = key_order;
  return source;
}

Status Checkpoint::Impl::check_tensors() {
  const Status checked = layout.for_each([&](const MatrixPlace& matrix) {
    OCTET_RETURN_IF_ERROR(check_matrix(files, matrix));
    used.insert(files.find(matrix.tensor).tensor);
    return ok_status();
  });
  int64_t num_unused = files.num_absent();
  const StoredTensor* foreign = nullptr;
  for (const SafetensorsFile& file : files.files()) {
    for (const StoredTensor& tensor : file.tensors()) {
      if (used.contains(&tensor)) continue;
      ++num_unused;
      if (!tensor.foreign_dtype.empty()) foreign = &tensor;
    }
  }
  if (!checked.ok()) {  // perhaps for what was passed over
    if (foreign == nullptr) return checked;
    return invalid_input("{} (tensor {} has dtype '{}', which no layer reads)", checked.message(), quote(foreign->name),
                         foreign->foreign_dtype);
  }
  if (num_unused > 0) {
    remarks.push_back(fmt::format("{}: {} tensor{} that no layer uses {} passed over", files.source().string(),
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

namespace {

Result<ModelConfig> read_config_of(const fs::path& folder, bool native, std::vector<std::string>& remarks) {
  if (native) return read_config(folder / "params.json", parse_native_params);
  const fs::path path = folder / "config.json";
  std::vector<std::string> left_out;
  OCTET_ASSIGN_OR_RETURN(ModelConfig config,
                         read_config(path, [&](std::string_view text) { return parse_hf_config(text, &left_out); }));
  add_remarks(path, left_out, remarks);
  return config;
}

}  // namespace

Result<ModelConfig> read_model_config(const fs::path& folder) {
  OCTET_ASSIGN_OR_RETURN(const fs::path path, resolve_model_folder(folder));
  std::error_code error;
  const bool native = !fs::exists(path / "config.json", error) && fs::exists(path / "params.json", error);
  std::vector<std::string> remarks;
  return read_config_of(path, native, remarks);
}

Result<Checkpoint> Checkpoint::open(const fs::path& path, const CheckpointOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const fs::path folder, resolve_model_folder(path));
  OCTET_ASSIGN_OR_RETURN(const CheckpointFormat format, detect_format(folder));
  std::vector<std::string> remarks;
  OCTET_ASSIGN_OR_RETURN(ModelConfig config, read_config_of(folder, format == CheckpointFormat::kNative, remarks));
  OCTET_ASSIGN_OR_RETURN(CheckpointFiles files, CheckpointFiles::open(folder, format));
  auto impl = std::make_unique<Impl>(folder, std::move(config), std::move(files), format);
  impl->remarks = std::move(remarks);
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
  for (const SafetensorsFile& file : impl_->files.files()) {
    for (const StoredTensor& tensor : file.tensors()) {
      listings.push_back({.name = tensor.name,
                          .format = tensor.dtype,
                          .dtype_text = std::string(tensor.dtype_text()),
                          .is_used = impl_->used.contains(&tensor),
                          .shape = tensor.shape,
                          .file = file.path().filename().string()});
    }
  }
  return listings;
}

int64_t Checkpoint::file_bytes() const {
  int64_t total = 0;
  for (const SafetensorsFile& file : impl_->files.files()) total += file.num_bytes();
  return total;
}

MatrixSource Checkpoint::embedding() const { return impl_->view(impl_->layout.embedding()); }
MatrixSource Checkpoint::final_norm() const { return impl_->view(impl_->layout.final_norm()); }
MatrixSource Checkpoint::output() const { return impl_->view(impl_->layout.output()); }

AttentionTensors Checkpoint::attention(int64_t layer) const {
  OCTET_CHECK(layer >= 0 && layer < config().num_layers, "layer {}", layer);
  const AttentionPlaces places = impl_->layout.attention(layer);
  return {.norm = impl_->view(places.norm),
          .q = impl_->view(places.q),
          .k = impl_->view(places.k),
          .v = impl_->view(places.v),
          .o = impl_->view(places.o)};
}

MoeTensors Checkpoint::moe(int64_t layer) const {
  OCTET_CHECK(layer >= 0 && layer < config().num_layers, "layer {}", layer);
  MoeTensors tensors;
  tensors.norm = impl_->view(impl_->layout.moe_norm(layer));
  tensors.gate = impl_->view(impl_->layout.gate(layer));
  for (int64_t e = 0; e < config().num_experts; ++e) {
    const ExpertPlaces places = impl_->layout.expert(layer, e);
    tensors.experts.push_back(
        {.w1 = impl_->view(places.w1), .w3 = impl_->view(places.w3), .w2 = impl_->view(places.w2)});
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
