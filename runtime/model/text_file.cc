#include "runtime/model/text_file.h"

#include <fstream>
#include <system_error>

#include "runtime/model/utf8.h"

namespace octet {

Result<std::string> read_text_file(const std::filesystem::path& path, int64_t max_bytes) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return invalid_input("{}: no such file", path.string());
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return invalid_input("{}: {}", path.string(), error.message());
  if (size > max_bytes) {
    return invalid_input("{}: {} bytes are more than the {} that such a file may have", path.string(), size, max_bytes);
  }
  std::string text(static_cast<size_t>(size), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), size);
  if (!file) return invalid_input("{}: cannot be read", path.string());
  drop_byte_order_mark(text);
  return text;
}

}  // namespace octet
