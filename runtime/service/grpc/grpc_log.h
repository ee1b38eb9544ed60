// What gRPC and protobuf log by themselves.
#pragma once

namespace octet {

// Takes gRPC's log into ours, at debug level, and silences protobuf's: errors are told by our own lines. Once is
// enough; more does no harm.
void quiet_grpc();

}  // namespace octet
