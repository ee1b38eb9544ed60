// AddressAccount: what the clients of one address have, and what they have wasted.
//
// Requests that are answered cost nothing, however many there are. What is refused, broken off, or asked for nothing is
// paid for in units of waste; whoever owes is not read, on any connection of the address, until it is paid.
#pragma once

#include <cstdint>

#include "runtime/gate/token_bucket.h"

namespace octet {

// A unit is a tenth of a millisecond of a processor, about what a call takes that is begun and given up.
namespace waste {
constexpr double kMost = 250;      // owed to nobody: so much at once, and from then on
constexpr double kAtOnce = 25;     // before it is looked at whether that is paid
constexpr double kRate = 500;      // a second, which is a twentieth of a processor
constexpr double kMostOwed = 250;  // nobody waits longer than for this: clients give a connection up after a second
// What costs how much.
constexpr double kFault = 50;                       // a rule of HTTP/2 that is broken, which ends the connection
constexpr double kEmptyConnection = 4;              // one that ends and never had an answer
constexpr double kRequest = 1;                      // one without an answer: refused, reset, failed
constexpr double kByte = 1.0 / (16 << 10);          // of its whole messages, which are parsed
constexpr double kDroppedByte = 1.0 / (128 << 10);  // of what is read and goes nowhere
constexpr double kSettings = 1;                     // a frame that changes what is known of a client, and is answered
constexpr double kPing = 1.0 / 8;                   // a frame that is answered
constexpr double kControl = 1.0 / 64;               // a frame that asks for little work
}  // namespace waste

// One thread at a time.
class AddressAccount {
 public:
  using Clock = TokenBucket::Clock;

  int64_t num_connections = 0;
  int64_t held_bytes = 0;  // by requests that are not complete, and by open streams

  void charge(double amount) {
    if (amount > 0) waste_.take(amount);
  }
  // How long its clients are not to be read.
  Clock::duration owes(Clock::time_point now = Clock::now()) { return waste_.take(0, now); }
  // Whether a new one would be the same.
  bool is_blank(Clock::time_point now) { return num_connections == 0 && waste_.is_full(now); }

 private:
  TokenBucket waste_{waste::kMost, waste::kRate, waste::kMostOwed};
};

}  // namespace octet
