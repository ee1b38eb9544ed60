#pragma once

namespace octet {

// Where the time of steps goes, in seconds.
struct StepSeconds {
  double schedule = 0;  // planning; what is planned while a device computes is not time of the model's
  double model = 0;     // running the model; on a GPU the choice of tokens, too
  double sample = 0;    // choosing tokens, where the host waits for that alone
  double deliver = 0;   // telling clients
  double service = 0;   // what a service does between steps: taking requests, deadlines, metrics

  double total() const { return schedule + model + sample + deliver + service; }
  StepSeconds& operator+=(const StepSeconds& other) {
    schedule += other.schedule;
    model += other.model;
    sample += other.sample;
    deliver += other.deliver;
    service += other.service;
    return *this;
  }
  StepSeconds since(const StepSeconds& before) const {
    return {schedule - before.schedule, model - before.model, sample - before.sample, deliver - before.deliver,
            service - before.service};
  }
};

}  // namespace octet
