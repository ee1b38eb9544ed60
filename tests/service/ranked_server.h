// A server of the demo model on several ranks, which are threads of the test's own process.
#pragma once

#include <functional>

#include "comm/thread_comm.h"
#include "runtime/model/distributed_runner.h"
#include "tests/service/test_server.h"

namespace octet::testing {

// Serves while `test`, on rank 0, runs.
inline void with_ranked_server(const Topology& topology, const TestServerOptions& options,
                               const std::function<void(TestServer&)>& test) {
  const Status status = ThreadWorld::run(topology.world, [&](CommWorld& world) -> Status {
    OCTET_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(demo_model()));
    OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"cpu", 1, ""}));
    ModelComms comms(world, topology);
    OCTET_ASSIGN_OR_RETURN(const auto model,
                           Mixtral::create(checkpoint, topology, *backend, comms, TestServer::model_options(options)));
    if (world.rank() != 0) return follow(world, *model);
    LeadingRunner leader(world, *model);
    TestServer server(leader, options);
    test(server);
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

}  // namespace octet::testing
