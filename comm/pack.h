// Small messages as bytes: numbers and texts, one behind the other. Both ends are the same program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace octet {

class Packer {
 public:
  Packer& number(uint64_t number) {
    append(std::as_bytes(std::span(&number, 1)));
    return *this;
  }
  Packer& text(std::string_view text) {
    number(text.size());
    append(std::as_bytes(std::span(text)));
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  void append(std::span<const std::byte> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }

  std::vector<std::byte> bytes_;
};

// Reads what a Packer wrote, in the same order. Past the end, values are 0 and empty, and ok() is false from then on.
class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : rest_(bytes) {}

  uint64_t number() {
    uint64_t number = 0;
    const auto bytes = take(sizeof(number));
    if (ok_) std::memcpy(&number, bytes.data(), sizeof(number));
    return number;
  }
  std::string text() {
    const auto bytes = take(number());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::span<const std::byte> take(uint64_t size) {
    ok_ = ok_ && size <= rest_.size();
    if (!ok_) return {};
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }

  std::span<const std::byte> rest_;
  bool ok_ = true;
};

}  // namespace octet
