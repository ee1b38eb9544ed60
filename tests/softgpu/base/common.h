// Vocabulary shared by every part of softgpu.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace octet::softgpu {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

inline constexpr unsigned kLanes = 32;  // threads of a warp
inline constexpr u32 kAllLanes = ~u32{0};

struct Dim3 {
  u32 x = 1, y = 1, z = 1;
  u64 count() const { return u64{x} * y * z; }
};

constexpr u64 round_up(u64 value, u64 multiple) { return (value + multiple - 1) / multiple * multiple; }

// PTX that softgpu cannot load: syntax error, unknown instruction or modifier.
struct PtxError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a kernel did wrong; `code` is the cudaError_t the runtime API reports.
struct DeviceFault : std::runtime_error {
  DeviceFault(int error, const std::string& message) : std::runtime_error(message), code(error) {}
  int code;
};

// printf into a std::string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

// Reads an integer environment variable.
long environment(const char* name, long fallback);

}  // namespace octet::softgpu
