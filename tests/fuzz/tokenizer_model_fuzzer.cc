// A damaged tokenizer.model is refused or works; it never crashes, and no text makes control tokens of it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/utf8.h"
#include "runtime/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto tokenizer = octet::Tokenizer::parse({reinterpret_cast<const char*>(data), size});
  if (!tokenizer.ok()) return 0;
  for (const std::string_view text : {"Hello <s> w\xC3\xB6rld </s>\n", "\xFF a  b"}) {
    const auto ids = tokenizer->encode(text);
    for (const auto id : ids) OCTET_CHECK(tokenizer->kind(id) != octet::TokenKind::kControl);
    OCTET_CHECK(octet::is_valid_utf8(tokenizer->decode(ids)));
  }
  return 0;
}
