// The command line: parses arguments, applies the configuration file, runs a command, and turns errors into one line on
// stderr and an exit code.
#pragma once

namespace octet {

int run_cli(int argc, char** argv);

}  // namespace octet
