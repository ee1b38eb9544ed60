// Files that commands write, so that nothing of before is lost whatever happens meanwhile: a full disk, a second run, a
// crash, somebody else's link in the place of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/base/unique_fd.h"

namespace octet {

// "-" is standard output. A pipe or a device is written through and never read; a link is followed to what it names.
enum class OutputKind { kStandardOutput, kStream, kFile };

struct OutputPlace {
  OutputKind kind = OutputKind::kFile;
  std::filesystem::path path;  // of a file: where it is or will be, links resolved
};

// kInvalidInput, with the path, for a folder.
Result<OutputPlace> output_place(const std::filesystem::path& path);

// A file that appears whole under its name, or not at all. It is written as "PATH.partial" beside it, which one process
// at a time has, and which must be a file of this user; commit() makes it the one under the name, on the disk.
// Destroyed before that, it leaves what was there. Errors (kFailed) name the path and what the system says;
// kInterrupted where a signal came while a pipe was waited for. Movable, not thread-safe.
class NewFile {
 public:
  static Result<NewFile> create(const std::filesystem::path& path);
  NewFile(NewFile&&) noexcept = default;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  // Call once. What was written is under the name then, and locked until the descriptor is gone: see take_descriptor.
  Status commit();
  // Of the file now under its name, opened for writing and locked. After commit().
  UniqueFd take_descriptor() { return std::move(file_); }

 private:
  NewFile(OutputPlace place, std::filesystem::path written, UniqueFd file)
      : place_(std::move(place)), written_(std::move(written)), file_(std::move(file)) {}
  Status flush();

  OutputPlace place_;
  std::filesystem::path written_;  // what errors name, and what is renamed
  UniqueFd file_;
  std::vector<std::byte> buffer_;
  bool committed_ = false;
};

// A whole file at once.
Status write_whole_file(const std::filesystem::path& path, std::string_view text);

// A file that grows by lines; one process at a time has it.
class GrowingFile {
 public:
  // Opens the file or begins it. kInvalidInput where it cannot be opened, kFailed where another process has it.
  static Result<GrowingFile> open(const std::filesystem::path& path);

  // What is there; of streams, nothing.
  Result<std::string> read() const;
  // The file is the old or the new one at every moment.
  Status replace(std::string_view text);
  // The line, without its end, is handed to the system whole; where it does not fit, the file is as before.
  Status append(std::string_view line);
  // What was appended is on the disk.
  Status sync();

 private:
  GrowingFile(OutputPlace place, UniqueFd file) : place_(std::move(place)), file_(std::move(file)) {}

  OutputPlace place_;
  UniqueFd file_;
};

}  // namespace octet
