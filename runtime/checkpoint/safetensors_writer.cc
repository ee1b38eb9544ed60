#include "runtime/checkpoint/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "runtime/base/check.h"
#include "runtime/checkpoint/safetensors.h"

namespace octet {
namespace {

constexpr size_t kHeaderAlignment = 8;

int64_t num_bytes(const TensorDeclaration& declaration) {
  int64_t bytes = dtype_size(declaration.dtype);
  for (const int64_t extent : declaration.shape) bytes *= extent;
  return bytes;
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& path,
                                                    std::span<const TensorDeclaration> declarations) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  int64_t offset = 0;
  for (const TensorDeclaration& declaration : declarations) {
    OCTET_CHECK(declaration.name != "__metadata__" && !header.contains(declaration.name), "tensor {}",
                declaration.name);
    const int64_t end = offset + num_bytes(declaration);
    header[declaration.name] = {
        {"dtype", dtype_name(declaration.dtype)}, {"shape", declaration.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  OCTET_ASSIGN_OR_RETURN(NewFile file, NewFile::create(path));
  SafetensorsWriter writer(path, std::move(file));
  OCTET_RETURN_IF_ERROR(writer.write_header(header.dump()));
  writer.bytes_left_ = offset;
  return writer;
}

// Spaces round the header up, so that the data of a mapped file begins aligned.
Status SafetensorsWriter::write_header(std::string header) {
  header.resize((header.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  OCTET_CHECK(static_cast<int64_t>(header.size()) <= kMaxSafetensorsHeader, "{} bytes of header", header.size());
  const uint64_t length = header.size();
  OCTET_RETURN_IF_ERROR(file_.write(std::as_bytes(std::span(&length, 1))));
  return file_.write(header);
}

Status SafetensorsWriter::append(std::span<const std::byte> bytes) {
  bytes_left_ -= static_cast<int64_t>(bytes.size());
  OCTET_CHECK(bytes_left_ >= 0, "{}: {} bytes more than declared", path_.string(), -bytes_left_);
  return file_.write(bytes);
}

Status SafetensorsWriter::finish() {
  OCTET_CHECK(bytes_left_ == 0, "{}: {} bytes missing", path_.string(), bytes_left_);
  return file_.commit();
}

Status write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors) {
  std::vector<TensorDeclaration> declarations;
  for (const NamedTensor& named : tensors) {
    TensorDeclaration declaration = {named.name, named.tensor.dtype, {}};
    for (int i = 0; i < named.tensor.shape.rank(); ++i) declaration.shape.push_back(named.tensor.shape[i]);
    declarations.push_back(std::move(declaration));
  }
  OCTET_ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::create(path, declarations));
  for (const NamedTensor& named : tensors) {
    OCTET_RETURN_IF_ERROR(writer.append(
        {static_cast<const std::byte*>(named.tensor.data), static_cast<size_t>(named.tensor.num_bytes())}));
  }
  return writer.finish();
}

}  // namespace octet
