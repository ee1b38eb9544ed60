// CallEnd: how a call ended, in nobody's protocol.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "runtime/base/status.h"

namespace octet {

enum class CallEndCode {
  kOk,               // everything was said
  kInvalidArgument,  // what was asked is wrong
  kAlreadyExists,    // a call of the same id is under way
  kExhausted,        // no room for it now
  kDeadline,         // its client's time was over
  kCancelled,        // its client has gone, or had it aborted
  kUnavailable,      // whoever answers goes away
  kInternal,
};

struct CallEnd {
  CallEndCode code = CallEndCode::kOk;
  std::string message = {};  // one line
  std::string field = {};    // of kInvalidArgument: the field that is wrong, if it is one; not in the message
  std::optional<std::chrono::milliseconds> retry = {};  // when another try may be worth it

  bool ok() const { return code == CallEndCode::kOk; }
};

// Of a call that was not taken. kInvalidInput names a field; anything else is kInternal.
CallEnd refusal(const Status& status);

}  // namespace octet
