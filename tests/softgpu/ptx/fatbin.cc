#include "tests/softgpu/ptx/fatbin.h"

#include <dlfcn.h>
#include <fatbinary_section.h>

#include "tests/softgpu/base/common.h"

namespace octet::softgpu {
namespace {

// The container is not documented by NVIDIA; these layouts were read off nvcc 13.0 output.
struct ContainerHeader {
  u32 magic;
  u16 version;
  u16 header_size;
  u64 size;  // bytes that follow this header
};
constexpr u32 kContainerMagic = 0xBA55ED50;

struct EntryHeader {
  u16 kind;  // 1: PTX, 2: ELF
  u16 version;
  u32 header_size;
  u64 size;  // stored bytes, padded
  u32 compressed_size;
  u32 options_offset;
  u16 minor, major;
  u32 architecture;
  u32 name_offset, name_size;
  u64 flags;
  u64 reserved;
  u64 uncompressed_size;
};
static_assert(sizeof(EntryHeader) == 64);
constexpr u16 kKindPtx = 1;
constexpr u64 kFlagLz4 = 0x2000;
constexpr u64 kFlagZstd = 0x8000;

// LZ4 block format: sequences of (token, literals, little-endian offset, match).
std::string decompress_lz4(const u8* in, std::size_t size, std::size_t uncompressed_size) {
  std::string out;
  out.reserve(uncompressed_size);
  const u8* const end = in + size;
  const auto extend = [&](std::size_t length) {
    if (length == 15) {
      u8 more;
      do length += more = *in++;
      while (more == 255);
    }
    return length;
  };
  while (in < end && out.size() < uncompressed_size) {
    const u8 token = *in++;
    const std::size_t literals = extend(token >> 4);
    out.append(reinterpret_cast<const char*>(in), literals);
    in += literals;
    if (out.size() >= uncompressed_size) break;
    const std::size_t offset = in[0] | in[1] << 8;
    in += 2;
    for (std::size_t n = extend(token & 15) + 4; n > 0; --n) out.push_back(out[out.size() - offset]);
  }
  return out;
}

// Zstandard, nvcc's default: left to the system's libzstd, loaded only when it is needed.
std::string decompress_zstd(const u8* in, std::size_t size, std::size_t uncompressed_size) {
  using Decompress = std::size_t (*)(void*, std::size_t, const void*, std::size_t);
  static const auto decompress = [] {
    void* library = dlopen("libzstd.so.1", RTLD_NOW);
    return library ? reinterpret_cast<Decompress>(dlsym(library, "ZSTD_decompress")) : nullptr;
  }();
  if (!decompress)
    throw PtxError("the fatbinary is zstd-compressed and libzstd.so.1 is missing: compile with nvcc --no-compress");
  std::string out(uncompressed_size, '\0');
  if (decompress(out.data(), out.size(), in, size) != uncompressed_size)
    throw PtxError("cannot decompress the fatbinary (zstd): compile with nvcc --no-compress");
  return out;
}

void collect(const u8* container, std::vector<PtxImage>& images) {
  // nvcc's device-link step prepends empty containers; skip up to the one with entries.
  ContainerHeader header;
  for (;; container += header.header_size + header.size) {
    std::memcpy(&header, container, sizeof header);
    if (header.magic != kContainerMagic) return;
    if (header.size != 0) break;
  }
  const u8* at = container + header.header_size;
  const u8* const end = at + header.size;
  while (at + sizeof(EntryHeader) <= end) {
    EntryHeader entry;
    std::memcpy(&entry, at, sizeof entry);
    const u8* const payload = at + entry.header_size;
    if (entry.kind == kKindPtx) {
      std::string text;
      if (entry.flags & kFlagZstd)
        text = decompress_zstd(payload, entry.compressed_size, entry.uncompressed_size);
      else if (entry.flags & kFlagLz4)
        text = decompress_lz4(payload, entry.compressed_size, entry.uncompressed_size);
      else
        text.assign(reinterpret_cast<const char*>(payload), entry.size);
      text.resize(std::strlen(text.c_str()));  // drop padding
      images.push_back({int(entry.architecture), std::move(text)});
    }
    at = payload + entry.size;
  }
}

}  // namespace

std::vector<PtxImage> extract_ptx(const void* fatbin_wrapper) {
  const auto& wrapper = *static_cast<const __fatBinC_Wrapper_t*>(fatbin_wrapper);
  if (wrapper.magic != FATBINC_MAGIC) throw PtxError("not a CUDA fatbinary");
  std::vector<PtxImage> images;
  if (wrapper.version == FATBINC_LINK_VERSION)
    throw PtxError("relocatable device code (nvcc -rdc=true) is not supported");
  collect(reinterpret_cast<const u8*>(wrapper.data), images);
  return images;
}

}  // namespace octet::softgpu
