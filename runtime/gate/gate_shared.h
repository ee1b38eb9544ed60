// What the connections of a gate share.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>

#include "runtime/gate/http2_filter.h"

namespace octet {

struct GateShared {
  boost::asio::io_context io{1};
  FilterOptions filter = {};
  // Gives a connected socket to the gRPC library, which owns it from then on.
  std::function<void(int descriptor)> handover = {};
  int64_t num_connections = 0;
  int64_t held_bytes = 0;      // by requests that are not complete, and by open streams
  int64_t max_held_bytes = 0;  // beyond that relieve() is called, which has some of them refused
  std::function<void()> relieve = {};
};

}  // namespace octet
