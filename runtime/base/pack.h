// Messages as bytes: numbers, texts and lists, one behind the other. Both ends are the same program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octet {

class Packer {
 public:
  Packer() = default;
  // Writes into this memory, over what is there: a message that is made again and again allocates nothing.
  explicit Packer(std::vector<std::byte> memory) : bytes_(std::move(memory)) { bytes_.clear(); }

  Packer& number(uint64_t number) { return raw(std::as_bytes(std::span(&number, 1))); }
  Packer& uint32(uint32_t number) { return raw(std::as_bytes(std::span(&number, 1))); }
  Packer& int32(int32_t number) { return raw(std::as_bytes(std::span(&number, 1))); }
  // Behind their count.
  Packer& int32s(std::span<const int32_t> numbers) {
    return int32(static_cast<int32_t>(numbers.size())).raw(std::as_bytes(numbers));
  }
  // Behind its size.
  Packer& block(std::span<const std::byte> bytes) { return number(bytes.size()).raw(bytes); }
  Packer& text(std::string_view text) { return block(std::as_bytes(std::span(text))); }
  // Whose size both ends know.
  Packer& raw(std::span<const std::byte> more) {
    bytes_.insert(bytes_.end(), more.begin(), more.end());
    return *this;
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }
  // What was written, to be kept.
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Reads what a Packer wrote, in the same order. Past the end, values are 0 and empty, and ok() is false from then on.
// Spans point into the bytes read.
class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : rest_(bytes) {}

  uint64_t number() { return value<uint64_t>(); }
  uint32_t uint32() { return value<uint32_t>(); }
  int32_t int32() { return value<int32_t>(); }
  // Into memory that is used again.
  void int32s(std::vector<int32_t>& numbers) {
    const auto bytes = raw(static_cast<uint64_t>(uint32()) * sizeof(int32_t));
    numbers.resize(bytes.size() / sizeof(int32_t));
    if (!bytes.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  }
  std::span<const std::byte> block() { return raw(number()); }
  std::string text() {
    const auto bytes = block();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::span<const std::byte> raw(uint64_t size) {
    ok_ = ok_ && size <= rest_.size();
    if (!ok_) return {};
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }

  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  template <typename Number>
  Number value() {
    Number number = 0;
    const auto bytes = raw(sizeof(number));
    if (ok_) std::memcpy(&number, bytes.data(), sizeof(number));
    return number;
  }

  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace octet
