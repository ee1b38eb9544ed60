// Any bytes for what a rank says to octet run are nonsense, unfinished, or a message that is those bytes; any text for
// an invitation is refused or reads the same again.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "launcher/job/job_message.h"
#include "runtime/base/check.h"

namespace {

using Bytes = std::vector<std::byte>;

template <typename Take, typename Pack>
void check(const Bytes& all, Take take, Pack pack) {
  Bytes unread = all;
  const auto message = take(unread);
  if (!message.ok() || !*message) {
    OCTET_CHECK(unread == all);
    return;
  }
  const Bytes taken = pack(**message);
  OCTET_CHECK(taken.size() + unread.size() == all.size() && std::equal(taken.begin(), taken.end(), all.begin()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  check({bytes, bytes + size}, octet::take_rank_hello, octet::pack_rank_hello);
  check({bytes, bytes + size}, octet::take_rank_report, octet::pack_rank_report);
  const auto invitation = octet::parse_invitation(std::string(reinterpret_cast<const char*>(data), size));
  if (!invitation.ok()) return 0;
  const std::string text = octet::invitation_text(*invitation);
  const auto again = octet::parse_invitation(text);
  OCTET_CHECK(again.ok() && octet::invitation_text(*again) == text);
  return 0;
}
