#pragma once

#include "tests/softgpu/ptx/ptx_ast.h"

namespace octet::softgpu {

// Parses one PTX module; throws PtxError with the line of the first thing it does not understand.
std::unique_ptr<ModuleSource> parse_ptx(std::string text);

}  // namespace octet::softgpu
