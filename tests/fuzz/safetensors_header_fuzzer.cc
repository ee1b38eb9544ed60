// Any bytes as a safetensors file: refused with one line, or tensors that lie inside the file, in order, without gaps.
#include <limits>

#include "runtime/base/check.h"
#include "runtime/model/safetensors.h"

namespace {

void parse(std::span<const std::byte> bytes, int64_t file_size) {
  const auto tensors = octet::parse_safetensors_header(bytes, file_size);
  if (!tensors.ok()) {
    OCTET_CHECK(tensors.status().code() == octet::StatusCode::kInvalidInput);
    OCTET_CHECK(tensors.status().message().find('\n') == std::string::npos);
    return;
  }
  int64_t covered = tensors->empty() ? file_size : tensors->front().begin;
  for (const octet::StoredTensor& tensor : *tensors) {
    OCTET_CHECK(tensor.begin == covered && tensor.end >= tensor.begin && tensor.begin >= 8);
    int64_t num_bytes = octet::dtype_size(tensor.dtype);
    for (const int64_t extent : tensor.shape) num_bytes *= extent;
    OCTET_CHECK(num_bytes == tensor.end - tensor.begin);
    covered = tensor.end;
  }
  OCTET_CHECK(covered == file_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  parse(bytes, static_cast<int64_t>(size));
  // The header of a file far larger than what is at hand of it: offsets up to the limits of 64 bits are in range.
  parse(bytes, std::numeric_limits<int64_t>::max());
  return 0;
}
