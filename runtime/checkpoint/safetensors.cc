#include "runtime/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "runtime/base/foreign_file.h"
#include "runtime/base/quote.h"
#include "runtime/checkpoint/safetensors_header.h"

namespace octet {
namespace {

constexpr int64_t kLengthBytes = 8;

static_assert(std::endian::native == std::endian::little, "the format's numbers are little-endian");

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Length of the header, checked against the format's limit and the file.
Result<int64_t> header_length(std::span<const std::byte> bytes, int64_t file_size) {
  if (file_size < kLengthBytes || bytes.size() < kLengthBytes) {
    return invalid_input("{} bytes are too short for a safetensors file", file_size);
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeader)) {
    return invalid_input("header length {} is over the limit of {} bytes", length, kMaxSafetensorsHeader);
  }
  const int64_t available = std::min(file_size, static_cast<int64_t>(bytes.size())) - kLengthBytes;
  if (static_cast<int64_t>(length) > available) {
    return invalid_input(
        "header length {} is more than the {} bytes that follow it: the file is cut short or damaged; "
        "fetch it again",
        length, available);
  }
  return static_cast<int64_t>(length);
}

// Bytes that dtype and shape ask for.
Result<int64_t> tensor_bytes(const StoredTensor& tensor) {
  // In eighths of a byte where an element is smaller than one.
  const int64_t divisor = tensor.element_bits % 8 == 0 ? 1 : 8;
  int64_t size = tensor.element_bits * divisor / 8;
  for (const int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(size, extent, &size)) {
      return invalid_input("tensor {}: shape {} overflows", quote(tensor.name), shape_text(tensor.shape));
    }
  }
  if (size % divisor == 0) return size / divisor;
  return invalid_input("tensor {}: {} of shape {} takes no whole number of bytes", quote(tensor.name),
                       tensor.dtype_text(), shape_text(tensor.shape));
}

// One tensor's place against its own shape and the size of the data.
Status check_place(const StoredTensor& tensor, int64_t data_size) {
  OCTET_ASSIGN_OR_RETURN(const int64_t num_bytes, tensor_bytes(tensor));
  if (tensor.end < tensor.begin) {
    return invalid_input("tensor {}: data_offsets end {} lies before begin {}", quote(tensor.name), tensor.end,
                         tensor.begin);
  }
  if (tensor.end > data_size) {
    return invalid_input(
        "tensor {} ends at byte {} of the data, of which the file has {}: it is cut short or damaged; "
        "fetch it again",
        quote(tensor.name), tensor.end, data_size);
  }
  if (tensor.end - tensor.begin != num_bytes) {
    return invalid_input("tensor {}: {} of shape {} takes {} bytes, data_offsets give {}", quote(tensor.name),
                         tensor.dtype_text(), shape_text(tensor.shape), num_bytes, tensor.end - tensor.begin);
  }
  return ok_status();
}

// The tensors (in order of their data) follow one another from byte 0 of the data to its end.
Status check_coverage(const std::vector<StoredTensor>& tensors, int64_t data_size) {
  int64_t covered = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin < covered) {
      return invalid_input("tensor {} overlaps the tensor before it: begins at byte {} of the data, not {}",
                           quote(tensor.name), tensor.begin, covered);
    }
    if (tensor.begin > covered) {
      return invalid_input("a hole of {} bytes in the data before tensor {}", tensor.begin - covered,
                           quote(tensor.name));
    }
    covered = tensor.end;
  }
  if (covered != data_size) {
    return invalid_input("{} trailing bytes after the last tensor", data_size - covered);
  }
  return ok_status();
}

}  // namespace

Result<std::vector<StoredTensor>> parse_safetensors_header(std::span<const std::byte> bytes, int64_t file_size) {
  OCTET_ASSIGN_OR_RETURN(const int64_t length, header_length(bytes, file_size));
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                                static_cast<size_t>(length));
  OCTET_ASSIGN_OR_RETURN(std::vector<StoredTensor> tensors, SafetensorsHeaderReader().take(header));
  const int64_t data_begin = kLengthBytes + length;
  const int64_t data_size = file_size - data_begin;
  for (const StoredTensor& tensor : tensors) OCTET_RETURN_IF_ERROR(check_place(tensor, data_size));
  std::ranges::sort(tensors, {}, [](const StoredTensor& tensor) { return std::pair(tensor.begin, tensor.end); });
  OCTET_RETURN_IF_ERROR(check_coverage(tensors, data_size));
  for (StoredTensor& tensor : tensors) {
    tensor.begin += data_begin;
    tensor.end += data_begin;
  }
  return tensors;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  OCTET_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  auto tensors = parse_safetensors_header(file.bytes(), static_cast<int64_t>(file.bytes().size()));
  if (!tensors.ok()) return refuse_file(path, file.text(), FileContent::kBinary, tensors.status());
  return SafetensorsFile(path, std::move(file), *std::move(tensors));
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path, MappedFile file, std::vector<StoredTensor> tensors)
    : path_(std::move(path)), file_(std::move(file)), tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i) index_by_name_.emplace(tensors_[i].name, i);
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_by_name_.find(name);
  return found == index_by_name_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace octet
