#include "runtime/base/status.h"

namespace octet {

int Status::exit_code() const {
  switch (code_) {
    case StatusCode::kOk:
      return 0;
    case StatusCode::kFailed:
      return 1;
    case StatusCode::kInvalidInput:
      return 2;
    case StatusCode::kRankLost:
      return 3;
    case StatusCode::kInterrupted:
      return 130;
  }
  return 1;
}

}  // namespace octet
