// Device code of the process: registered fatbinaries, and their kernels as loaded on each device.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/softgpu/cudart/memory.h"
#include "tests/softgpu/ptx/decoder.h"
#include "tests/softgpu/ptx/fatbin.h"

namespace octet::softgpu {

// A kernel decoded for one device.
struct LoadedKernel {
  const Function* function = nullptr;
  const Code* code = nullptr;
  std::string display_name;  // demangled
  u32 static_shared_bytes = 0, reserved_shared_bytes = 0;
  u32 max_dynamic_shared_bytes = 48 * 1024;  // cudaFuncAttributeMaxDynamicSharedMemorySize
  std::unique_ptr<Decoder> decoder;
};

// One PTX module on one device: its variables have addresses.
class LoadedModule {
 public:
  LoadedModule(const std::string& ptx, int device);
  LoadedKernel& kernel(const std::string& name);
  // Decodes every kernel, to find what softgpu lacks; returns the messages.
  std::vector<std::string> decode_all();
  // Device address of a module-scope variable, 0 if there is none.
  u64 variable(const std::string& name) const;
  u64 variable_bytes(const std::string& name) const;

 private:
  void place_variables();
  void place_shared(LoadedKernel& kernel, std::map<const Variable*, u64>& offsets);

  std::unique_ptr<ModuleSource> source_;
  int device_;
  std::map<const Variable*, u64> addresses_;
  std::map<std::string, std::unique_ptr<LoadedKernel>> kernels_;
};

// What nvcc's constructors registered, keyed by the host-side symbols.
class Program {
 public:
  struct Binary {
    const void* wrapper = nullptr;
    std::map<int, std::unique_ptr<LoadedModule>> loaded;  // by device
  };
  struct Symbol {
    Binary* binary;
    std::string name;
  };

  static Program& instance();
  Binary* add(const void* wrapper);
  void add_kernel(Binary* binary, const void* host_function, std::string name);
  void add_variable(Binary* binary, const void* host_variable, std::string name);
  const Symbol* kernel_symbol(const void* host_function);
  // Accepts the host function or a cudaKernel_t / cudaFunction_t, which is a Symbol.
  LoadedKernel* kernel(const void* function, int device);
  struct VariableInfo {
    u64 address, bytes;
  };
  std::optional<VariableInfo> variable(const void* host_variable, int device);

 private:
  LoadedModule& load(Binary& binary, int device);

  std::recursive_mutex mutex_;
  std::list<Binary> binaries_;
  std::map<const void*, Symbol> kernels_, variables_;
};

}  // namespace octet::softgpu
