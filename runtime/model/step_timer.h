// StepTimer: where the time of forward steps goes, as one rank sees it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace octet {

// What a rank is doing. Every moment of a step belongs to one, collectives and waiting included.
enum class StepPhase : uint8_t {
  kAttention,  // norm, gather, projections, attention, reduce
  kRouter,     // norm, router logits and the choice of experts
  kDispatch,   // rows to their experts
  kExperts,    // the experts' products
  kCombine,    // completing products, and the weighted sums home
  kRest,       // embedding, final norm, logits
};
inline constexpr size_t kNumStepPhases = 6;

constexpr std::string_view step_phase_name(StepPhase phase) {
  constexpr std::array<std::string_view, kNumStepPhases> kNames = {"attention", "router",  "dispatch",
                                                                   "experts",   "combine", "rest"};
  return kNames[static_cast<size_t>(phase)];
}

// Reads a clock when a phase begins, and no more. On a device that computes asynchronously it tells when the host
// enqueued work, not when it ran.
class StepTimer {
 public:
  // The time since the last call belongs to the phase that was entered then.
  void enter(StepPhase phase) {
    stop();
    phase_ = phase;
    running_ = true;
  }
  // A step is over.
  void stop() {
    const auto now = std::chrono::steady_clock::now();
    if (running_) seconds_[static_cast<size_t>(phase_)] += std::chrono::duration<double>(now - since_).count();
    since_ = now;
    running_ = false;
  }
  // Of all steps so far.
  const std::array<double, kNumStepPhases>& seconds() const { return seconds_; }

 private:
  std::array<double, kNumStepPhases> seconds_{};
  std::chrono::steady_clock::time_point since_;
  StepPhase phase_ = StepPhase::kRest;
  bool running_ = false;
};

}  // namespace octet
