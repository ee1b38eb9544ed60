// What a client makes a service write into its log changes nothing about its job.
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ForgedLogServiceTest : public JobTest {};

TEST_F(ForgedLogServiceTest, LongNoRequestIdEndsTheJobOrHidesALine) {
  const std::string frame = std::string(62, '-');
  ServeJob job({.num_ranks = 2});
  Streams streams(job.client());
  for (const std::string& forged :
       {std::string("x\noctet: rank 1 (host b) died: y"), "x\n" + frame + "\nMPI_ABORT was invoked",
        "x\n" + frame + "\nmpirun noticed that process rank 1 with PID 0 on node b exited on signal 9 (Killed).\n" +
            frame,
        "x\n" + frame + "\nhidden"}) {
    ClientCall call = greedy_call("In the beginning", 2);
    call.request_id = forged;
    streams.begin(call);
    ASSERT_TRUE(streams.listen_to_the_end());  // with an answer or a refusal: a service may know better than to take it
  }
  ClientCall call = greedy_call("In the beginning", 2);
  call.request_id = "the-last-one";
  streams.begin(call);
  ASSERT_TRUE(streams.listen_to_the_end());
  std::this_thread::sleep_for(Seconds(12));  // a verdict gives a job ten seconds
  Streams later(job.client());
  const Heard& heard = later.begin(greedy_call("In the beginning", 2));
  ASSERT_TRUE(later.listen_to_the_end());
  EXPECT_TRUE(heard.end->ok()) << heard.end->status.message();
  job.await("the-last-one");
  job.run().send(SIGTERM);
  const Outcome outcome = job.run().wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, Not(HasSubstr("octet: the job")));
}

}  // namespace
}  // namespace octet::testing
