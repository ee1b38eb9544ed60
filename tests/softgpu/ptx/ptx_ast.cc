#include "tests/softgpu/ptx/ptx_ast.h"

namespace octet::softgpu {
namespace {

struct TypeInfo {
  std::string_view name;
  Type type;
  unsigned size;
};
constexpr TypeInfo kTypes[] = {
    {"pred", Type::kPred, 0}, {"b8", Type::kB8, 1},         {"b16", Type::kB16, 2},   {"b32", Type::kB32, 4},
    {"b64", Type::kB64, 8},   {"b128", Type::kB128, 16},    {"u8", Type::kU8, 1},     {"u16", Type::kU16, 2},
    {"u32", Type::kU32, 4},   {"u64", Type::kU64, 8},       {"s8", Type::kS8, 1},     {"s16", Type::kS16, 2},
    {"s32", Type::kS32, 4},   {"s64", Type::kS64, 8},       {"f16", Type::kF16, 2},   {"f16x2", Type::kF16x2, 4},
    {"bf16", Type::kBF16, 2}, {"bf16x2", Type::kBF16x2, 4}, {"tf32", Type::kTF32, 4}, {"f32", Type::kF32, 4},
    {"f64", Type::kF64, 8},
};

constexpr std::string_view kSpecialRegisters =
    " %tid.x %tid.y %tid.z %ntid.x %ntid.y %ntid.z %ctaid.x %ctaid.y %ctaid.z %nctaid.x %nctaid.y "
    "%nctaid.z %laneid %warpid %nwarpid %smid %nsmid %gridid %lanemask_eq %lanemask_le %lanemask_lt "
    "%lanemask_ge %lanemask_gt %clock %clock_hi %clock64 %globaltimer %globaltimer_lo "
    "%globaltimer_hi %dynamic_smem_size %total_smem_size %reserved_smem_offset_0 "
    "%reserved_smem_offset_1 %envreg0 %envreg1 %envreg2 ";

}  // namespace

std::optional<Space> space_from_name(std::string_view word) {
  if (word == ".global") return Space::kGlobal;
  if (word == ".shared") return Space::kShared;
  if (word == ".local") return Space::kLocal;
  if (word == ".param") return Space::kParam;
  if (word == ".const") return Space::kConst;
  return std::nullopt;
}

Type type_from_name(std::string_view name) {
  for (const auto& info : kTypes)
    if (info.name == name) return info.type;
  return Type::kNone;
}

unsigned size_of(Type type) {
  for (const auto& info : kTypes)
    if (info.type == type) return info.size;
  return 0;
}

bool is_special_register(std::string_view name) {
  return kSpecialRegisters.find(" " + std::string(name) + " ") != std::string_view::npos;
}

}  // namespace octet::softgpu
