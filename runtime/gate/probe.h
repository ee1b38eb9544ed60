// Whether somebody answers at an address.
#pragma once

#include <chrono>
#include <stop_token>

#include "runtime/base/address.h"
#include "runtime/base/status.h"

namespace octet {

// Connects to the address (that of all of a host's addresses is the host's own), greets as a client of HTTP/2 does, and
// waits until anything comes: an answer, or the connection's end, which shows as well that somebody looks after it.
// kFailed where nothing does within `patience`. Returns soon after a stop is asked for.
Status probe_http2(const Address& address, std::chrono::milliseconds patience, const std::stop_token& stop);

}  // namespace octet
