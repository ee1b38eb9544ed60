// Text from untrusted files inside one-line messages.
#pragma once

#include <string>
#include <string_view>

namespace octet {

// `text` between single quotes, control characters, quotes and backslashes escaped, at most about 120 bytes of it (the
// rest is "..."), so that a message stays one readable line whatever a file contains.
std::string quote(std::string_view text);

}  // namespace octet
