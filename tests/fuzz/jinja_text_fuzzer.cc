// Any bytes for a Jinja template fold to a text no longer than twice theirs and the spaces of their tags.
#include <cstddef>
#include <cstdint>

#include "runtime/base/check.h"
#include "runtime/text/chat/jinja_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string folded = octet::fold_jinja({reinterpret_cast<const char*>(data), size});
  OCTET_CHECK(folded.size() <= 3 * size);
  return 0;
}
