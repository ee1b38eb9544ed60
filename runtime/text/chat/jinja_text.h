// What of a Jinja template's text its rendering can depend on.
#pragma once

#include <string>
#include <string_view>

namespace octet {

// The template in one way of writing it: line ends are LF, one at the very end is dropped, as Jinja does; inside of
// {{ }} and {% %} white space stays only where it separates two words, and string literals stand in double quotes.
// Whatever is printed, and whatever trims what is printed ("-", "+"), stays as it is, so templates that fold to the
// same text render the same.
std::string fold_jinja(std::string_view text);

}  // namespace octet
