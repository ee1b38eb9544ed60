#include "runtime/base/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "runtime/base/read_file.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 18;
constexpr mode_t kMode = 0666;  // less what the umask takes away

Status write_error(const fs::path& path, int error) {
  if (error == EINTR) return {StatusCode::kInterrupted, "interrupted"};
  return failed("{}: cannot be written: {}", path.string(), std::strerror(error));
}

Status taken(const fs::path& path) {
  return failed("{}: another process writes it; wait for its end or choose another file", path.string());
}

// All of it, or errno. *written: how much of it, in any case.
int write_all(int descriptor, std::span<const std::byte> bytes, size_t* written) {
  for (*written = 0; *written < bytes.size();) {
    const ssize_t count = ::write(descriptor, bytes.data() + *written, bytes.size() - *written);
    if (count < 0) return errno;
    *written += static_cast<size_t>(count);
  }
  return 0;
}

enum class Lock { kHeld, kTaken };

// Until the descriptor is closed. A file system without locks is used without.
Lock lock_file(int descriptor) {
  return ::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK ? Lock::kTaken : Lock::kHeld;
}

// Whether the file is the one that has the name: it may have been replaced before it was locked.
bool has_name(int descriptor, const fs::path& path) {
  struct stat open_file {
  }, named{};
  return ::fstat(descriptor, &open_file) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

// Entries of a folder are on the disk when the folder is.
int sync_folder_of(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const UniqueFd descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.valid()) return EACCES == errno ? 0 : errno;  // a folder that may be written but not read
  return ::fsync(descriptor.get()) == 0 || errno == EINVAL ? 0 : errno;
}

int sync_file(int descriptor) { return ::fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno; }

Result<UniqueFd> open_stream(const OutputPlace& place) {
  UniqueFd file(place.kind == OutputKind::kStandardOutput
                    ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)
                    : ::open(place.path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.valid()) return write_error(place.path, errno);
  return file;
}

// Nobody else's: a link, or a file that has another name, too, may be a trap for what is written.
Status check_own(const fs::path& path, int descriptor) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) return write_error(path, errno);
  if (S_ISREG(info.st_mode) && info.st_uid == ::geteuid() && info.st_nlink <= 1) return ok_status();
  return failed("{}: something else is there, which would be written over; remove it", path.string());
}

// The file to be written first, empty and locked: new, or what a run that was killed has left.
Result<UniqueFd> open_partial(const fs::path& path) {
  while (true) {
    UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
    if (!file.valid() && errno == EEXIST) {
      file = UniqueFd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
      if (!file.valid() && errno == ENOENT) continue;
      if (!file.valid() && errno == ELOOP) {
        return failed("{}: a symbolic link is there, which would be written through; remove it", path.string());
      }
      if (file.valid()) OCTET_RETURN_IF_ERROR(check_own(path, file.get()));
    }
    if (!file.valid()) return write_error(path, errno);
    if (lock_file(file.get()) == Lock::kTaken) return taken(path);
    if (!has_name(file.get(), path)) continue;
    if (::ftruncate(file.get(), 0) != 0) return write_error(path, errno);
    return file;
  }
}

}  // namespace

Result<OutputPlace> output_place(const fs::path& path) {
  if (path == "-") return OutputPlace{OutputKind::kStandardOutput, "standard output"};
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (::lstat(path.c_str(), &info) == 0) return invalid_input("{}: a link to nothing", path.string());
    return OutputPlace{OutputKind::kFile, path};
  }
  if (S_ISDIR(info.st_mode)) return invalid_input("{}: {}", path.string(), std::strerror(EISDIR));
  if (!S_ISREG(info.st_mode)) return OutputPlace{OutputKind::kStream, path};
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr), std::free);
  return OutputPlace{OutputKind::kFile, resolved == nullptr ? path : fs::path(resolved.get())};
}

Result<NewFile> NewFile::create(const fs::path& path) {
  OCTET_ASSIGN_OR_RETURN(OutputPlace place, output_place(path));
  if (place.kind != OutputKind::kFile) {
    OCTET_ASSIGN_OR_RETURN(UniqueFd stream, open_stream(place));
    const fs::path name = place.path;
    return NewFile(std::move(place), name, std::move(stream));
  }
  fs::path partial = place.path;
  partial += ".partial";
  OCTET_ASSIGN_OR_RETURN(UniqueFd file, open_partial(partial));
  struct stat before {};  // of the file that this one replaces: who may read it stays
  if (::stat(place.path.c_str(), &before) == 0) [[maybe_unused]]
    const int ignored = ::fchmod(file.get(), before.st_mode & 0777);
  return NewFile(std::move(place), std::move(partial), std::move(file));
}

NewFile::~NewFile() {
  if (committed_ || !file_.valid() || place_.kind != OutputKind::kFile) return;
  ::unlink(written_.c_str());
}

Status NewFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) OCTET_RETURN_IF_ERROR(flush());
  if (bytes.size() < kBufferBytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return ok_status();
  }
  size_t written = 0;
  const int error = write_all(file_.get(), bytes, &written);
  return error == 0 ? ok_status() : write_error(written_, error);
}

Status NewFile::flush() {
  size_t written = 0;
  const int error = write_all(file_.get(), buffer_, &written);
  buffer_.clear();
  return error == 0 ? ok_status() : write_error(written_, error);
}

Status NewFile::commit() {
  OCTET_RETURN_IF_ERROR(flush());
  if (place_.kind == OutputKind::kFile) {
    if (const int error = sync_file(file_.get()); error != 0) return write_error(written_, error);
    if (::rename(written_.c_str(), place_.path.c_str()) != 0) return write_error(place_.path, errno);
  }
  committed_ = true;
  const int error = place_.kind == OutputKind::kFile ? sync_folder_of(place_.path) : 0;
  return error == 0 ? ok_status() : write_error(place_.path, error);
}

Status write_whole_file(const fs::path& path, std::string_view text) {
  OCTET_ASSIGN_OR_RETURN(NewFile file, NewFile::create(path));
  OCTET_RETURN_IF_ERROR(file.write(text));
  return file.commit();
}

Result<GrowingFile> GrowingFile::open(const fs::path& path) {
  OCTET_ASSIGN_OR_RETURN(OutputPlace place, output_place(path));
  if (place.kind != OutputKind::kFile) {
    OCTET_ASSIGN_OR_RETURN(UniqueFd stream, open_stream(place));
    return GrowingFile(std::move(place), std::move(stream));
  }
  while (true) {
    UniqueFd file(::open(place.path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, kMode));
    if (!file.valid()) return invalid_input("{}: {}", path.string(), std::strerror(errno));
    if (lock_file(file.get()) == Lock::kTaken) return taken(path);
    if (has_name(file.get(), place.path)) return GrowingFile(std::move(place), std::move(file));
  }
}

Result<std::string> GrowingFile::read() const {
  if (place_.kind != OutputKind::kFile) return std::string();
  if (::lseek(file_.get(), 0, SEEK_SET) < 0) return write_error(place_.path, errno);
  return read_descriptor(file_.get(), place_.path.string());
}

Status GrowingFile::replace(std::string_view text) {
  OCTET_ASSIGN_OR_RETURN(NewFile file, NewFile::create(place_.path));
  OCTET_RETURN_IF_ERROR(file.write(text));
  OCTET_RETURN_IF_ERROR(file.commit());
  file_ = file.take_descriptor();
  if (::fcntl(file_.get(), F_SETFL, O_APPEND) != 0) return write_error(place_.path, errno);
  return ok_status();
}

Status GrowingFile::append(std::string_view line) {
  const std::string whole = std::string(line) + "\n";
  const off_t before = place_.kind == OutputKind::kFile ? ::lseek(file_.get(), 0, SEEK_END) : -1;
  size_t written = 0;
  const int error = write_all(file_.get(), std::as_bytes(std::span(whole)), &written);
  if (error == 0) return ok_status();
  if (before >= 0 && written > 0) [[maybe_unused]]
    const int ignored = ::ftruncate(file_.get(), before);
  return write_error(place_.path, error);
}

Status GrowingFile::sync() {
  if (place_.kind != OutputKind::kFile) return ok_status();
  const int error = sync_file(file_.get());
  return error == 0 ? ok_status() : write_error(place_.path, error);
}

}  // namespace octet
