// Gate: where clients arrive. It accepts connections, ends their TLS, looks at what they send (Http2Filter), and gives
// the gRPC library a local connection for each that speaks HTTP/2.
//
// The library's own listener stops for good when the process is out of descriptors, takes any number of connections,
// and waits for ever on one that says nothing. This one takes so many at most; the one more takes the place of one that
// is idle, of the address that has most, or is turned away.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/base/address.h"
#include "runtime/base/status.h"
#include "runtime/gate/http2_filter.h"
#include "runtime/gate/tls.h"

namespace octet {

struct GateOptions {
  Address listen;
  TlsFiles tls = {};
  int64_t max_connections = 1024;      // fewer where the process may have few descriptors
  int64_t max_held_bytes = 128 << 20;  // by requests that are not complete, and by open streams
  FilterOptions filter = {};
};

// Thread safety: one thread at a time. A thread of its own serves the clients, and calls `handover` and the filter's
// `judge`.
class Gate {
 public:
  // Listens, but takes no client yet. kInvalidInput, one line, where an address cannot be had or a file is wrong.
  static Result<std::unique_ptr<Gate>> open(GateOptions options);
  ~Gate();

  // With the port that was chosen.
  const Address& address() const;
  // Takes clients from now on. handover: gives a connected socket to the gRPC library, which owns it from then on.
  void start(std::function<void(int descriptor)> handover);
  // Takes no more clients.
  void stop_listening();
  // Whether all clients are gone, within `time`: those that the library has left are told their last.
  bool wait_until_empty(std::chrono::milliseconds time);

 private:
  struct Impl;
  explicit Gate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octet
