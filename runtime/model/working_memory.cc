// What a model takes beside weights and KV cache, by making one over a device that only counts.
#include "comm/planned_world.h"
#include "kernels/counting_backend.h"
#include "runtime/model/mixtral.h"

namespace octet {

Result<int64_t> Mixtral::working_memory(const ModelConfig& config, const Topology& topology, int rank,
                                        const PlannedDevice& device, MixtralOptions options) {
  options.num_pages = 0;
  CountingBackend backend(device);
  PlannedWorld world(rank, topology.world, device.memory);
  ModelComms comms(world, topology);
  OCTET_ASSIGN_OR_RETURN(const auto model, make_unloaded(config, {topology, backend, comms}, std::move(options)));
  const Decoder& decoder = model->decoder_;
  backend.add_expert_products(decoder.max_assignments(), config.hidden_size, decoder.shard().ffn.size());
  return backend.allocated();
}

}  // namespace octet
