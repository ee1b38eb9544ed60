// What a client says and hears, as messages.
#pragma once

#include <grpcpp/support/status.h>

#include "runtime/base/status.h"
#include "runtime/service/client/client.h"
#include "runtime/service/octet.pb.h"

namespace octet {

// kInvalidInput for a number that the message has no room for.
Result<v1::GenerateRequest> to_message(const ClientCall& call);
// Token ids are theirs already, and become an empty text.
v1::TokenizeRequest to_tokenize_message(const PromptSource& source);
ReceivedChunk from_message(const v1::GenerateChunk& message);
ServedModelInfo from_message(const v1::ModelInfo& message);
ServingInfo from_message(const v1::ServerInfo& message);

// A call's end as one line that begins with the server's address.
RpcStatus from_grpc(const grpc::Status& status, const std::string& server);

}  // namespace octet
