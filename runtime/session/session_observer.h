// SessionObserver: what a session tells whoever opened it, and asks.
#pragma once

#include <cstdint>

#include "comm/beat.h"
#include "runtime/base/status.h"

namespace octet {

// How far a rank has come with opening its session.
enum class SessionStage {
  kJoining,  // it waits for the job's other ranks
  kOpening,  // it is busy with the model by itself
  kJoined,   // all ranks have found together
};

// Each of these may be left as it is. Called by the thread that uses the session, but for those that say otherwise.
class SessionObserver {
 public:
  virtual ~SessionObserver() = default;

  virtual void on_stage(SessionStage /*stage*/) {}
  // Of rank 0 while it loads: bytes read so far, of so many. Called again and again.
  virtual void on_loading(int64_t /*bytes*/, int64_t /*total_bytes*/) {}
  // No more of that comes, whether it went well or not.
  virtual void on_loading_end() {}
  // kInterrupted once the user asked to stop: the session then ends the job, instead of sending its ranks home.
  virtual Status check_interrupted() { return ok_status(); }
  // WatchdogOptions::tell and on_failure, of a job of several ranks: in the watchdog's thread.
  virtual bool tell(const JobFailure& /*failure*/) { return false; }
  virtual void on_job_failure(const JobFailure& /*failure*/) {}
};

}  // namespace octet
