// Which instruction sets the cpu backend has kernels for, and which of them this machine can run.
#pragma once

#include <string>
#include <string_view>

#include "kernels/cpu/kernel_table.h"
#include "runtime/base/status.h"

namespace octet {

// One row of the table of instruction sets.
struct Isa {
  std::string_view name;   // as --isa takes it
  bool supported = false;  // by this machine and its operating system
  const KernelTable& (*kernels)() = nullptr;
};

// The supported instruction set called `name`; the best one where name is empty. The error names what this machine has.
Result<Isa> find_isa(std::string_view name);

// The names of the instruction sets that this machine supports, worst first, as "avx2, avx512".
std::string supported_isas();

// Whether this machine has 512-bit integer dot products.
bool has_vnni();

}  // namespace octet
