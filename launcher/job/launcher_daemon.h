// Open MPI's daemon, which has started this rank where mpirun runs on another host.
#pragma once

namespace octet {

// Ends it, if there is one, and with it what it runs on this host. For a rank that no longer hears mpirun's host: the
// daemon would wait there until TCP gives up its own connection, which takes a quarter of an hour.
void end_launcher_daemon();

}  // namespace octet
