#include "launcher/checkup/checkup.h"

namespace octet {

std::string_view grade_name(Grade grade) {
  switch (grade) {
    case Grade::kGood:
      return "ok";
    case Grade::kHint:
      return "hint";
    case Grade::kMissing:
      return "missing";
  }
  return "?";
}

}  // namespace octet
