#include "launcher/cli.h"

int main(int argc, char** argv) { return octet::run_cli(argc, argv); }
