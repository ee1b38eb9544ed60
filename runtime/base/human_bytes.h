// Numbers of bytes for people.
#pragma once

#include <string>

namespace octet {

// "1.9 GB", "640 KB": powers of 1000, as disks and networks count.
std::string human_bytes(double bytes);

}  // namespace octet
