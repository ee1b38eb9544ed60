#include "runtime/gate/socket_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

namespace octet {
namespace {

constexpr std::chrono::milliseconds kLockTime{5000};  // others hold the lock for as long as a socket takes to make
constexpr std::chrono::milliseconds kLockTick{10};

Status system_error(const char* what) { return invalid_input("{}: {}", what, std::strerror(errno)); }

bool lock(int folder) {
  for (auto waited = std::chrono::milliseconds(0); flock(folder, LOCK_EX | LOCK_NB) != 0; waited += kLockTick) {
    if (waited >= kLockTime) return false;
    std::this_thread::sleep_for(kLockTick);
  }
  return true;
}

// Whether somebody takes connections there. A full backlog is somebody, too.
Result<bool> is_served(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return invalid_input("the path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return system_error("a socket");
  const bool connected = connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  const int error = errno;
  close(socket);
  if (connected || error == EAGAIN) return true;
  if (error == ECONNREFUSED || error == ENOENT) return false;
  errno = error;
  return system_error("whether a service listens there cannot be seen");
}

Status make_room(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return errno == ENOENT ? ok_status() : system_error("cannot be seen");
  if (!S_ISSOCK(info.st_mode)) return invalid_input("there is a file of that name, and it is no socket");
  OCTET_ASSIGN_OR_RETURN(const bool served, is_served(path));
  if (served) return invalid_input("in use: another service listens there");
  return unlink(path.c_str()) == 0 ? ok_status()
                                   : system_error("the socket of a service that is gone cannot be removed");
}

}  // namespace

Result<SocketFile> SocketFile::claim(const std::string& path) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  SocketFile file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.folder_ < 0) return system_error("its folder");
  if (!lock(file.folder_)) return invalid_input("its folder is locked by another program");
  if (access(folder.c_str(), W_OK) != 0) return system_error("its folder");
  OCTET_RETURN_IF_ERROR(make_room(path));
  return file;
}

SocketFile::~SocketFile() {
  if (folder_ >= 0) close(folder_);
}

}  // namespace octet
