// Text that others wrote inside one-line messages: of clients, of untrusted files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace octet {

// `text` between single quotes, quotes and backslashes escaped, and all that escape_line() escapes; at most about 120
// bytes of it (the rest is "..."), so that a message stays one readable line whatever a file contains.
std::string quote(std::string_view text);

// `text` as a part of a line: control characters (those of C1 and those that turn the direction of writing, too), the
// Unicode line ends, and bytes that are not UTF-8 become \xNN; at most about max_bytes of it, the rest is "...".
std::string escape_line(std::string_view text, size_t max_bytes);

// The first bytes of `text`, at most max_bytes, that end with a whole character.
std::string_view cut_text(std::string_view text, size_t max_bytes);

// Whether quotes would add nothing: ASCII letters, digits and some of -._:/@+, at least one and at most 128.
bool is_plain_word(std::string_view text);

}  // namespace octet
