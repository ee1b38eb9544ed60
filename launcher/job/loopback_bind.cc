// Loaded into mpirun (LD_PRELOAD) on one host: what it listens on, it listens on at the loopback interface. Open MPI 4
// binds the port of its daemons to all interfaces, whatever its parameters say, and one silent connection from anywhere
// can then hold a job's start.
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>

namespace {

// Its processes are none of its business: the first name in the list is this library's own.
__attribute__((constructor)) void leave_the_environment() {
  const char* list = std::getenv("LD_PRELOAD");
  const char* rest = list == nullptr ? nullptr : std::strchr(list, ':');
  if (rest != nullptr) {
    setenv("LD_PRELOAD", rest + 1, 1);
  } else {
    unsetenv("LD_PRELOAD");
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int bind(int socket, const sockaddr* address,
                                                           socklen_t size) noexcept {
  using Bind = int (*)(int, const sockaddr*, socklen_t);
  static const auto system_bind = reinterpret_cast<Bind>(dlsym(RTLD_NEXT, "bind"));
  sockaddr_storage changed{};
  if (address == nullptr || size > sizeof(changed)) return system_bind(socket, address, size);
  std::memcpy(&changed, address, size);
  auto& ipv4 = reinterpret_cast<sockaddr_in&>(changed);
  auto& ipv6 = reinterpret_cast<sockaddr_in6&>(changed);
  if (changed.ss_family == AF_INET && ipv4.sin_addr.s_addr == htonl(INADDR_ANY)) {
    ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  if (changed.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ipv6.sin6_addr)) ipv6.sin6_addr = in6addr_loopback;
  return system_bind(socket, reinterpret_cast<const sockaddr*>(&changed), size);
}
