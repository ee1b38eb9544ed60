#include "runtime/service/heap_trimmer.h"

#include <malloc.h>

#include <condition_variable>
#include <mutex>

namespace octet {

HeapTrimmer::HeapTrimmer(std::chrono::milliseconds interval)
    : thread_([interval](const std::stop_token& stop) {
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable_any never;
        while (!never.wait_for(lock, stop, interval, [&stop] { return stop.stop_requested(); })) ::malloc_trim(0);
      }) {}

}  // namespace octet
