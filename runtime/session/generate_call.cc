#include "runtime/session/generate_call.h"

#include <utility>
#include <vector>

namespace octet {

Request take_request(GenerateCall& call) {
  std::vector<TokenId> prompt = std::exchange(call.request.prompt, {});
  std::vector<TokenId> resumed = std::exchange(call.request.resumed_output, {});
  Request request = call.request;
  request.prompt = std::move(prompt);
  request.resumed_output = std::move(resumed);
  return request;
}

}  // namespace octet
