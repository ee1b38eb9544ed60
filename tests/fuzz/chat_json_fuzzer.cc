// Any bytes for a conversation are refused with one line or give messages.
#include <cstddef>
#include <cstdint>

#include "runtime/base/check.h"
#include "runtime/base/utf8.h"
#include "runtime/text/chat/chat_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto messages = octet::parse_chat_json({reinterpret_cast<const char*>(data), size});
  if (!messages.ok()) {
    OCTET_CHECK(messages.status().message().find('\n') == std::string::npos);
    return 0;
  }
  for (const auto& message : *messages) OCTET_CHECK(octet::is_valid_utf8(message.content));
  (void)octet::check_conversation(octet::with_safe_prompt(*messages));
  return 0;
}
