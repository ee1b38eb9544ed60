// SocketFile: the right to make a socket file, while nobody else serves there.
#pragma once

#include <string>
#include <utility>

#include "runtime/base/status.h"

namespace octet {

// Held from before the file is made until it is there: whoever else wants it meanwhile waits, and then finds it served.
class SocketFile {
 public:
  // kInvalidInput, one line without the path, where a living service has it, where something else than a socket is
  // there, or where the folder is not to be had. What a service that is gone has left there is removed.
  static Result<SocketFile> claim(const std::string& path);
  SocketFile(SocketFile&& other) noexcept : folder_(std::exchange(other.folder_, -1)) {}
  ~SocketFile();

 private:
  explicit SocketFile(int folder) : folder_(folder) {}
  int folder_;  // a descriptor, locked
};

}  // namespace octet
