// What a service tells of itself.
#pragma once

#include "runtime/service/octet.pb.h"
#include "runtime/service/served_model.h"
#include "runtime/service/service_limits.h"

namespace octet {

void fill_model_info(const ServedModel& model, v1::ModelInfo& info);
void fill_layout(const Topology& topology, v1::Layout& layout);
void fill_limits(const ServedModel& model, const ServiceLimits& limits, v1::Limits& info);
void fill_step_seconds(const StepSeconds& seconds, v1::StepSeconds& info);
void fill_load(const EngineStats& stats, v1::Load& load);

}  // namespace octet
