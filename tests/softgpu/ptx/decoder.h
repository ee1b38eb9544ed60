// Decodes functions of a loaded module into executable code.
#pragma once

#include <functional>
#include <map>

#include "tests/softgpu/ptx/ptx_ir.h"

namespace octet::softgpu {

class Decoder {
 public:
  // `address_of` places module-scope variables (already laid out per state space).
  Decoder(ModuleSource& module, std::function<u64(const Variable&)> address_of)
      : module_(module), address_of_(std::move(address_of)) {}

  // Decodes a function and everything it calls; throws PtxError.
  const Code& decode(Function& function);

 private:
  ModuleSource& module_;
  std::function<u64(const Variable&)> address_of_;
  std::map<const Function*, std::unique_ptr<Code>> codes_;
};

}  // namespace octet::softgpu
