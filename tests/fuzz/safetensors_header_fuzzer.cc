// Any bytes as a safetensors file: refused with one line, or tensors that lie inside the file, in order, without gaps;
// and as a file of whatever else, which is named on one line.
#include <limits>

#include "runtime/base/check.h"
#include "runtime/base/foreign_file.h"
#include "runtime/checkpoint/safetensors.h"

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
    OCTET_CHECK(!tensor.foreign_dtype.empty() || tensor.element_bits == 8 * octet::dtype_size(tensor.dtype));
    // Of elements smaller than a byte, in bits.
    const int64_t per_byte = tensor.element_bits % 8 == 0 ? 1 : 8;
    int64_t size = tensor.element_bits * per_byte / 8;
    for (const int64_t extent : tensor.shape) size *= extent;
    OCTET_CHECK(size % per_byte == 0 && size / per_byte == tensor.end - tensor.begin);
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
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const auto expected : {octet::FileContent::kJson, octet::FileContent::kBinary}) {
    const std::string what = octet::describe_foreign(text, expected);
    OCTET_CHECK(what.find('\n') == std::string::npos && what.size() < 1000);
  }
  return 0;
}
