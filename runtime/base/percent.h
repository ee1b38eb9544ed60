// Percent encoding (RFC 3986, section 2.1).
#pragma once

#include <string>
#include <string_view>

namespace octet {

// Bytes that `is_kept` knows stay, the others go as %XX. Whoever keeps '%' cannot be decoded.
std::string percent_encode(std::string_view text, bool (*is_kept)(char));

}  // namespace octet
