// Numbers of bytes for people: powers of 1000, as disks and networks count.
#pragma once

#include <cstdint>
#include <string>

namespace octet {

// In the unit that suits: "1.9 GB", "640 KB".
std::string human_bytes(double bytes);
inline std::string human_bytes(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

// "1234.5 MB", for numbers that are read beside each other.
std::string megabytes(int64_t bytes);

}  // namespace octet
