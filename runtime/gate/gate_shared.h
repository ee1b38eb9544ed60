// What the connections of a gate share.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>

#include "runtime/gate/http2_filter.h"
#include "runtime/gate/token_bucket.h"

namespace octet {

// Of what one address may do, all its connections together.
struct AddressState {
  int64_t num_connections = 0;
  int64_t held_bytes = 0;  // by requests that are not complete, and by open streams
  // In reset streams and refused requests; then it is read more slowly.
  TokenBucket cost{2000, 500};
};

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
