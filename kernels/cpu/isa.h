// Which instruction sets the cpu backend has kernels for, and which of them this machine can run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "runtime/base/status.h"

namespace octet {

// Instructions that multiply bytes, unsigned by signed, and add the products of four to a sum of 32 bits.
struct Int8Instructions {
  std::string_view name;        // as /proc/cpuinfo has it
  int register_bytes = 0;       // that Int8Loop's a and b have, and the sums of one chain
  bool saturates_pairs = true;  // whether the sums of two neighbouring products are cut off at 16 bits
  Int8Loop loop = nullptr;
};

// One row of the table of instruction sets.
struct Isa {
  std::string_view name;   // as --isa takes it
  bool supported = false;  // by this machine and its operating system
  const KernelTable& (*kernels)() = nullptr;
  // Those of vectors of this width that the machine supports, slowest first.
  std::vector<Int8Instructions> int8 = {};
};

// The supported instruction set called `name`; the best one where name is empty. The error names what this machine has.
Result<Isa> find_isa(std::string_view name);

// The names of the instruction sets that this machine supports, worst first, as "avx2, avx512".
std::string supported_isas();

}  // namespace octet
