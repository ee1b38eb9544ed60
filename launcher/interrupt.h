// SIGINT and SIGTERM as a flag that long-running commands look at between steps.
#pragma once

#include "runtime/base/status.h"

namespace octet {

// From now on the first of either signal sets the flag; the second ends the process at once with exit code 130.
void catch_interrupts();
// kInterrupted once a signal has come.
Status check_interrupted();

}  // namespace octet
