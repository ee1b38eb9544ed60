// Who ends this process where something fails that cannot be given back to whoever asked for it.
#pragma once

namespace octet {

// From now on end_process() (base/log.h) hands its exit code to `end`, which does not return, once the log is written;
// until then it aborts. For main(): _exit, mostly, since other threads are at work. May be called by a signal's handler
// where `end` may.
void set_process_end(void (*end)(int exit_code));

}  // namespace octet
