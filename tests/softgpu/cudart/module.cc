#include "tests/softgpu/cudart/module.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "tests/softgpu/exec/warp.h"
#include "tests/softgpu/ptx/ptx_parser.h"

namespace octet::softgpu {
namespace {

std::string demangle(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

template <class Visit>
void visit_operands(const std::vector<Operand>& operands, const Visit& visit) {
  for (const Operand& o : operands) {
    visit(o);
    visit_operands(o.elements, visit);
  }
}

}  // namespace

LoadedModule::LoadedModule(const std::string& ptx, int device) : source_(parse_ptx(ptx)), device_(device) {
  place_variables();
}

// Global and constant variables get one allocation each, so that overruns are noticed.
void LoadedModule::place_variables() {
  Memory& memory = Memory::instance();
  for (const Variable& v : source_->variables) {
    if (v.space != Space::kGlobal && v.space != Space::kConst) continue;
    const u64 address =
        memory.allocate_device(device_, std::max<u64>(v.size, 1), Region::Kind::kModule, v.space == Space::kConst);
    if (!address) throw PtxError("no device memory left for variable " + v.name);
    addresses_[&v] = address;
  }
  const auto map = memory.snapshot();
  for (const Variable& v : source_->variables) {
    const auto it = addresses_.find(&v);
    if (it == addresses_.end()) continue;
    const Region& region = *map->find(it->second);
    std::memset(region.storage, 0, v.size);
    std::ranges::copy(v.initial, region.storage);
    for (const auto& relocation : v.relocations) {
      const u64 target = variable(relocation.symbol) + u64(relocation.addend);
      if (!variable(relocation.symbol)) throw PtxError("initialiser refers to " + relocation.symbol);
      std::memcpy(region.storage + relocation.offset, &target, sizeof target);
    }
    region.mark_initialized(region.base, v.size);
  }
}

u64 LoadedModule::variable(const std::string& name) const {
  const auto symbol = source_->symbols.find(name);
  if (symbol == source_->symbols.end()) return 0;
  const auto it = addresses_.find(symbol->second);
  return it == addresses_.end() ? 0 : it->second;
}

u64 LoadedModule::variable_bytes(const std::string& name) const { return source_->symbols.find(name)->second->size; }

// Lays out the shared variables that a kernel can reach.
void LoadedModule::place_shared(LoadedKernel& kernel, std::map<const Variable*, u64>& offsets) {
  std::set<const Function*> functions;
  std::vector<const Function*> pending{kernel.function};
  std::vector<const Variable*> variables;
  while (!pending.empty()) {
    const Function* f = pending.back();
    pending.pop_back();
    if (!functions.insert(f).second) continue;
    for (const Statement& s : f->body)
      visit_operands(s.operands, [&](const Operand& o) {
        if (o.variable && o.variable->space == Space::kShared &&
            std::ranges::find(variables, o.variable) == variables.end())
          variables.push_back(o.variable);
        if (o.kind == Operand::Kind::kSpecial && o.name.starts_with("%reserved_smem"))
          kernel.reserved_shared_bytes = 1024;
        if (o.kind == Operand::Kind::kSymbol && !o.variable)
          if (const auto it = source_->functions.find(o.name); it != source_->functions.end())
            pending.push_back(it->second.get());
      });
  }
  u64 end = 0;
  const auto place = [&](bool dynamic) {
    u64 last = end;
    for (const Variable* v : variables) {
      if ((v->size == 0) != dynamic) continue;
      offsets[v] = round_up(dynamic ? end : last, v->align);  // all `extern` arrays start together
      last = std::max(last, offsets[v] + v->size);
    }
    end = last;
  };
  place(false);
  place(true);
  kernel.static_shared_bytes = u32(end);
}

LoadedKernel& LoadedModule::kernel(const std::string& name) {
  auto& kernel = kernels_[name];
  if (kernel) return *kernel;
  const auto it = source_->functions.find(name);
  if (it == source_->functions.end() || !it->second->is_entry) throw PtxError("no kernel " + name);
  auto loaded = std::make_unique<LoadedKernel>();
  loaded->function = it->second.get();
  loaded->display_name = demangle(name);
  std::map<const Variable*, u64> shared_offsets;
  place_shared(*loaded, shared_offsets);
  loaded->decoder = std::make_unique<Decoder>(*source_, [this, shared_offsets](const Variable& v) -> u64 {
    if (v.space == Space::kShared) return shared_offsets.at(&v);
    if (v.space == Space::kParam) return v.offset;
    return addresses_.at(&v);
  });
  try {
    loaded->code = &loaded->decoder->decode(*it->second);
  } catch (const PtxError& e) {
    throw PtxError(std::string(e.what()) + "\n  in kernel '" + loaded->display_name + "'");
  }
  kernel = std::move(loaded);
  return *kernel;
}

std::vector<std::string> LoadedModule::decode_all() {
  std::vector<std::string> problems;
  for (const auto& [name, function] : source_->functions) {
    if (!function->is_entry) continue;
    try {
      kernel(name);
    } catch (const PtxError& e) {
      problems.push_back(e.what());
    }
  }
  return problems;
}

Program& Program::instance() {
  static Program& program = *new Program;
  return program;
}

Program::Binary* Program::add(const void* wrapper) {
  std::lock_guard lock(mutex_);
  return &binaries_.emplace_back(Binary{wrapper, {}});
}

void Program::add_kernel(Binary* binary, const void* host_function, std::string name) {
  std::lock_guard lock(mutex_);
  kernels_[host_function] = {binary, std::move(name)};
}

void Program::add_variable(Binary* binary, const void* host_variable, std::string name) {
  std::lock_guard lock(mutex_);
  variables_[host_variable] = {binary, std::move(name)};
}

const Program::Symbol* Program::kernel_symbol(const void* host_function) {
  std::lock_guard lock(mutex_);
  const auto it = kernels_.find(host_function);
  if (it != kernels_.end()) return &it->second;
  for (const auto& [function, symbol] : kernels_)
    if (&symbol == host_function) return &symbol;
  return nullptr;
}

LoadedModule& Program::load(Binary& binary, int device) {
  auto& module = binary.loaded[device];
  if (!module) {
    // The newest PTX that the virtual device can run.
    const auto images = extract_ptx(binary.wrapper);
    const long capability = environment("SOFTGPU_COMPUTE_CAPABILITY", 80);
    const PtxImage* best = nullptr;
    for (const PtxImage& image : images)
      if (image.architecture <= capability && (!best || image.architecture > best->architecture)) best = &image;
    if (!best)
      throw PtxError(
          format("the executable embeds no PTX for compute capability %ld or below: compile with "
                 "-gencode arch=compute_80,code=compute_80",
                 capability));
    module = std::make_unique<LoadedModule>(best->text, device);
    if (environment("SOFTGPU_DECODE_ALL", 0))
      for (const std::string& problem : module->decode_all()) std::fprintf(stderr, "softgpu: %s\n", problem.c_str());
  }
  return *module;
}

LoadedKernel* Program::kernel(const void* function, int device) {
  std::lock_guard lock(mutex_);
  const Symbol* symbol = kernel_symbol(function);
  return symbol ? &load(*symbol->binary, device).kernel(symbol->name) : nullptr;
}

std::optional<Program::VariableInfo> Program::variable(const void* host_variable, int device) {
  std::lock_guard lock(mutex_);
  const auto it = variables_.find(host_variable);
  if (it == variables_.end()) return std::nullopt;
  LoadedModule& module = load(*it->second.binary, device);
  const u64 address = module.variable(it->second.name);
  if (!address) return std::nullopt;
  return VariableInfo{address, module.variable_bytes(it->second.name)};
}

}  // namespace octet::softgpu
