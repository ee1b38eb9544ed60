#include "runtime/base/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/unique_fd.h"
#include "runtime/base/utf8.h"

namespace octet {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 16;

Status read_error(const std::string& name, int error) {
  if (error == EINTR) return {StatusCode::kInterrupted, "interrupted"};
  return invalid_input("{}: {}", name.empty() ? "''" : name, error == ENOENT ? "no such file" : std::strerror(error));
}

Status too_long(const std::string& name, int64_t size, int64_t max_bytes) {
  return invalid_input("{}: {} bytes are more than the {} that such a file may have", name, size, max_bytes);
}

}  // namespace

Result<std::string> read_descriptor(int descriptor, const std::string& name, const ReadLimits& limits) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) return read_error(name, errno);
  if (S_ISDIR(info.st_mode)) return read_error(name, EISDIR);
  const bool is_regular = S_ISREG(info.st_mode);
  if (limits.kind == FileKind::kRegular && !is_regular) return invalid_input("{}: not a regular file", name);
  if (is_regular && info.st_size > limits.max_bytes) return too_long(name, info.st_size, limits.max_bytes);
  // One byte more than there is finds the end without growing; files of /proc have no size.
  std::string text(is_regular && info.st_size > 0 ? static_cast<size_t>(info.st_size) + 1 : kPieceBytes, '\0');
  for (size_t done = 0;;) {
    if (done == text.size()) text.resize(2 * done);
    const ssize_t count = ::read(descriptor, text.data() + done, text.size() - done);
    if (count < 0) return read_error(name, errno);
    done += static_cast<size_t>(count);
    if (static_cast<int64_t>(done) > limits.max_bytes) {
      return too_long(name, static_cast<int64_t>(done), limits.max_bytes);
    }
    if (count > 0) continue;
    text.resize(done);
    return text;
  }
}

Result<std::string> read_whole_file(const std::filesystem::path& path, const ReadLimits& limits) {
  const int no_wait = limits.kind == FileKind::kRegular ? O_NONBLOCK : 0;  // opening a named pipe waits for its writer
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | no_wait));
  if (!file.valid()) return read_error(path.string(), errno);
  return read_descriptor(file.get(), path.string(), limits);
}

Result<std::string> read_text_file(const std::filesystem::path& path, int64_t max_bytes) {
  auto text = read_whole_file(path, {max_bytes, FileKind::kRegular});
  if (text.ok()) drop_byte_order_mark(*text);
  return text;
}

Result<std::vector<std::filesystem::path>> files_of_folder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    paths.push_back(entry->path());
  }
  if (error) return invalid_input("{}: {}", folder.string(), error.message());
  std::ranges::sort(paths);
  return paths;
}

bool file_exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

}  // namespace octet
