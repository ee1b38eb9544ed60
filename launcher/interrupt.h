// SIGINT and SIGTERM as a flag that long-running commands look at between steps.
#pragma once

#include "runtime/base/status.h"

namespace octet {

// From now on the first of either signal sets the flag; one that comes while it is set ends the process at once with
// exit code 130.
void catch_interrupts();
// kInterrupted once a signal has come.
Status check_interrupted();
// Whether SIGINT has come; clears the flag, so that the work goes on. SIGTERM stays.
bool take_interrupt();

}  // namespace octet
