#include "runtime/base/foreign_file.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>

#include "runtime/base/quote.h"

namespace octet {
namespace {

constexpr size_t kHeadBytes = 512;

struct Signature {
  std::string_view bytes;  // at the beginning of the file
  std::string_view what;
};

constexpr std::array<Signature, 9> kSignatures = {{
    {"version https://git-lfs.github.com/spec/",
     "a Git LFS pointer, not the file itself; \"git lfs pull\" in its folder fetches it"},
    {"GGUF", "a GGUF file; a checkpoint of safetensors files is needed"},
    {std::string_view("PK\x03\x04", 4),
     "a zip archive (so PyTorch saves weights, as pickle, which can run code and is never read); convert the "
     "checkpoint "
     "to safetensors"},
    {std::string_view("\x1f\x8b", 2), "compressed with gzip; unpack it with gunzip"},
    {std::string_view("\x28\xb5\x2f\xfd", 4), "compressed with zstd; unpack it with unzstd"},
    {std::string_view("\xfd\x37zXZ", 5), "compressed with xz; unpack it with unxz"},
    {"BZh", "compressed with bzip2; unpack it with bunzip2"},
    {std::string_view("\x89HDF\r\n", 6), "an HDF5 file; convert the checkpoint to safetensors"},
    {"<?xml", "an XML page, perhaps a server's error, instead of the file; fetch it again"},
}};

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view without_leading_space(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

bool is_html(std::string_view text) {
  const std::string start = lower(text.substr(0, 16));
  return start.starts_with("<!doctype html") || start.starts_with("<html") || start.starts_with("<head");
}

// An object in text: its brace is followed by a key or by white space. (A safetensors file may begin with the byte of a
// brace, too, as part of a length.)
bool is_json_object(std::string_view text) {
  return text.size() >= 2 && text[0] == '{' && std::string_view("\" \t\r\n}").find(text[1]) != std::string_view::npos;
}

// {"error": …} as servers answer.
bool is_error_object(std::string_view text) {
  return is_json_object(text) && without_leading_space(text.substr(1)).starts_with("\"error");
}

// Protocol 2 to 5.
bool is_pickle(std::string_view bytes) {
  return bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

// The frame of a safetensors file, whose first bytes are a length and may be any.
bool is_safetensors_frame(std::string_view bytes) { return bytes.size() > 8 && bytes[7] == 0 && bytes[8] == '{'; }

}  // namespace

std::string describe_foreign(std::string_view bytes, FileContent expected) {
  if (bytes.empty()) return "empty; fetch it again";
  if (expected == FileContent::kBinary && is_safetensors_frame(bytes)) return "";
  for (const Signature& signature : kSignatures) {
    if (bytes.starts_with(signature.bytes)) return std::string(signature.what);
  }
  if (is_pickle(bytes)) {
    return "a pickle file, which can run code and is never read; convert the checkpoint to safetensors";
  }
  const std::string_view text = without_leading_space(bytes.substr(0, kHeadBytes));
  if (is_html(text)) {
    return "an HTML page instead of the file (a login or error page of the server); fetch it again";
  }
  if (is_error_object(text))
    return fmt::format("a server's error instead of the file ({}); fetch it again", quote(text));
  if (expected == FileContent::kBinary && is_json_object(text)) {
    return fmt::format("damaged or another: it is JSON text ({}); fetch it again", quote(text));
  }
  return "";
}

Status refuse_file(const std::filesystem::path& path, std::string_view bytes, FileContent expected,
                   const Status& reason) {
  const std::string what = describe_foreign(bytes, expected);
  if (what.empty()) return invalid_input("{}: {}", path.string(), reason.message());
  if (bytes.empty()) return invalid_input("{}: {}: the file is {}", path.string(), reason.message(), what);
  return invalid_input("{}: the file is {}", path.string(), what);
}

std::string describe_foreign_file(const std::filesystem::path& path, FileContent expected) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return "";
  std::ifstream file(path, std::ios::binary);
  std::string head(kHeadBytes, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return file.bad() || !file.is_open() ? "" : describe_foreign(head, expected);
}

}  // namespace octet
