#include "runtime/service/grpc/bearer_token.h"

#include "runtime/service/api_key.h"

namespace octet {

std::string_view bearer_token(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return {};
  return bearer_token({found->second.data(), found->second.size()});
}

}  // namespace octet
