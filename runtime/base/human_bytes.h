// Numbers of bytes for people.
#pragma once

#include <cstdint>
#include <string>

namespace octet {

// "1.9 GB", "640 KB": powers of 1000, as disks and networks count.
std::string human_bytes(double bytes);
inline std::string human_bytes(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

}  // namespace octet
