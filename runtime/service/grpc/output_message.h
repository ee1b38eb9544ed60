// Parts of an output as octet.v1 carries them.
#pragma once

#include "runtime/service/octet.pb.h"
#include "runtime/session/output_chunk.h"

namespace octet {

// A chunk of the answer to `call`.
v1::GenerateChunk to_message(const GenerateCall& call, OutputChunk&& chunk);

}  // namespace octet
