#include "runtime/service/heap_trimmer.h"

#include <malloc.h>

#include "runtime/base/stop_wait.h"

namespace octet {

HeapTrimmer::HeapTrimmer(std::chrono::milliseconds interval)
    : thread_([interval](const std::stop_token& stop) {
        while (!stops_within(stop, interval)) ::malloc_trim(0);
      }) {}

}  // namespace octet
