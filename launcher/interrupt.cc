#include "launcher/interrupt.h"

#include <csignal>

#include "runtime/base/log.h"

namespace octet {
namespace {

volatile std::sig_atomic_t interrupted = 0;  // the signal that came

void on_signal(int signal) {
  if (interrupted != 0) end_process(130);
  interrupted = signal;
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

Status check_interrupted() { return interrupted != 0 ? Status(StatusCode::kInterrupted, "interrupted") : ok_status(); }

bool take_interrupt() {
  if (interrupted != SIGINT) return false;
  interrupted = 0;
  return true;
}

}  // namespace octet
