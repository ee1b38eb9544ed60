// Reading whole files that people name. Every reader of text goes through here, so that a folder, a file that is not
// there and one that is too long are told alike.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace octet {

enum class FileKind {
  kRegular,  // only such: a named pipe would be waited for
  kAny,      // pipes and devices, too: what a shell makes of <(command)
};

struct ReadLimits {
  int64_t max_bytes = std::numeric_limits<int64_t>::max();  // more is refused, before it is read where that can be
  FileKind kind = FileKind::kAny;
};

// The whole of a file. kInvalidInput, with the path and what the system says ("Is a directory"); kInterrupted where a
// signal came while a pipe was waited for.
Result<std::string> read_whole_file(const std::filesystem::path& path, const ReadLimits& limits = {});

// The whole of an open descriptor, called `name` in errors.
Result<std::string> read_descriptor(int descriptor, const std::string& name, const ReadLimits& limits = {});

// kRegular, and no longer than max_bytes: a file of a model or of a configuration, whose contents nobody has vouched
// for. Without a byte order mark.
Result<std::string> read_text_file(const std::filesystem::path& path, int64_t max_bytes);

// What is in a folder, by name, with the folder in front. kInvalidInput where it cannot be listed.
Result<std::vector<std::filesystem::path>> files_of_folder(const std::filesystem::path& folder);

// Whether there is something under the name; what cannot be looked at is not there.
bool file_exists(const std::filesystem::path& path);

}  // namespace octet
