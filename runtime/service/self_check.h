// SelfCheck: whether a service is still answered for at its own address.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "runtime/base/address.h"
#include "runtime/base/status.h"

namespace octet {

// A thread that connects to the address as a client does, every few seconds, and waits for the service's first bytes.
class SelfCheck {
 public:
  struct Times {
    std::chrono::milliseconds interval{5'000};
    std::chrono::milliseconds patience{10'000};  // with each connection
  };

  // on_failure: called once, by that thread, when nothing has come for three
  // connections in a row.
  SelfCheck(const Address& address, std::function<void(const Status&)> on_failure);
  SelfCheck(const Address& address, std::function<void(const Status&)> on_failure, Times times);

 private:
  std::jthread thread_;
};

}  // namespace octet
