// A service over a long time, under mixed load with a fault a minute: every answer is right, and memory, descriptors
// and threads stay what they were. OCTET_SOAK_SECONDS says how long, an hour without it.
#include <atomic>
#include <map>
#include <random>

#include "tests/service/process_figures.h"
#include "tests/service/serve_job.h"

namespace octet::testing {
namespace {

constexpr Seconds kFaultEvery{60};
constexpr int64_t kGrowth = 16 << 20;  // bytes that allocators may keep more than after the warm-up
constexpr int64_t kTokens = 60;        // of an answer
constexpr int64_t kLibraryThreads = 4;

Seconds soak_time() {
  const char* wanted = std::getenv("OCTET_SOAK_SECONDS");
  return Seconds(wanted == nullptr ? 3600 : std::stod(wanted));
}

// Prompts and what a model alone answers.
const std::map<std::string, std::string>& right_answers() {
  static const auto answers = [] {
    std::map<std::string, std::string> found;
    for (const char* prompt : {"In the beginning", "And he said to them", " static int sqlite3", " En el principio",
                               "The LORD spoke to", " return SQLITE_OK", " los hijos de Israel", "Blessed are the"}) {
      found[prompt] = local_text(prompt, kTokens);
    }
    return found;
  }();
  return answers;
}

const std::string& any_prompt(std::mt19937_64& random) {
  return std::next(right_answers().begin(), static_cast<int64_t>(random() % right_answers().size()))->first;
}

// Connections that say nothing, or nonsense, until they are let go.
class Strangers {
 public:
  Strangers(const std::string& address, int count, const std::string& words) {
    sockaddr_in there{};
    there.sin_family = AF_INET;
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    there.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    for (int i = 0; i < count; ++i) {
      const int connection = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::connect(connection, reinterpret_cast<sockaddr*>(&there), sizeof(there)) == 0 && !words.empty()) {
        ::send(connection, words.data(), words.size(), MSG_NOSIGNAL);
      }
      connections_.push_back(connection);
    }
  }
  Strangers(const Strangers&) = delete;
  Strangers& operator=(const Strangers&) = delete;
  ~Strangers() {
    for (const int connection : connections_) ::close(connection);
  }

 private:
  std::vector<int> connections_;
};

ClientCall wrong_call(uint64_t number) {
  ClientCall call = greedy_call("wrong", 10);
  switch (number % 5) {
    case 0:
      call.params.sampling.top_p = 7;
      break;
    case 1:
      call.input = std::vector<TokenId>{1, 1'000'000};
      break;
    case 2:
      call.params.num_samples = 1'000'000;
      break;
    case 3:
      call.request_id = std::string(64, '-') + "\noctet: rank 1 (host b) died: y";
      call.model = "another\nmodel";
      break;
    default:
      call.input = std::string(100'000, 'a');
  }
  return call;
}

// Faults that a service survives without a restart, one after the other.
void harm_service(const ServeJob& job, int number) {
  constexpr int64_t kLong = 1500;
  Streams streams(job.client());
  switch (number % 7) {
    case 0: {  // cancels
      for (size_t i = 0; i < 60; ++i) {
        streams.begin(greedy_call("In the beginning of year " + std::to_string(i), kLong));
        streams.client().poll(std::chrono::milliseconds(5));
        streams.cancel(i);
      }
      EXPECT_TRUE(streams.listen_to_the_end());
      return;
    }
    case 1: {  // deadlines
      for (int i = 0; i < 200; ++i) {
        ClientCall call = greedy_call("In the beginning", kLong);
        call.deadline = std::chrono::milliseconds(1 + i % 50);
        streams.begin(call);
      }
      EXPECT_TRUE(streams.listen_to_the_end());
      return;
    }
    case 2: {  // requests that are refused
      for (uint64_t i = 0; i < 100; ++i) streams.begin(wrong_call(i));
      EXPECT_TRUE(streams.listen_to_the_end());
      for (size_t i = 0; i < streams.size(); ++i) EXPECT_FALSE(streams[i].end->ok());
      return;
    }
    case 3: {
      const Strangers silent(job.address(), 200, "");
      std::this_thread::sleep_for(Seconds(20));
      return;
    }
    case 4: {
      std::string nonsense(5000, '\0');
      std::mt19937 random(static_cast<unsigned>(number));
      for (char& byte : nonsense) byte = static_cast<char>(random());
      const Strangers loud(job.address(), 100, nonsense);
      std::this_thread::sleep_for(Seconds(1));
      return;
    }
    case 5:  // clients that do not read
      for (int i = 0; i < 8; ++i) streams.begin(greedy_call("In the beginning", kLong));
      std::this_thread::sleep_for(Seconds(15));
      return;
    default:  // a process that stands still
      ::kill(job.process(), SIGSTOP);
      std::this_thread::sleep_for(Seconds(3));
      ::kill(job.process(), SIGCONT);
  }
}

// Answers of several lengths at once on one connection after the other, until the time is over.
void ask_until(const ServeJob& job, Clock::time_point end, std::atomic<int64_t>& answers, std::atomic<int64_t>& wrong) {
  std::mt19937_64 random(7);
  while (Clock::now() < end) {
    Streams streams(job.client());
    std::vector<std::string> prompts;
    for (int i = 0; i < 40; ++i) {
      prompts.push_back(any_prompt(random));
      streams.begin(greedy_call(prompts.back(), kTokens));
      EXPECT_TRUE(streams.listen_until([&] { return streams.client().num_streams() < 6; }));
    }
    EXPECT_TRUE(streams.listen_to_the_end());
    for (size_t i = 0; i < prompts.size(); ++i) {
      // A full queue is told to who comes then; it is no wrong answer.
      if (streams[i].end->code == RpcCode::kResourceExhausted) continue;
      const bool right = streams[i].end->ok() && streams[i].text == right_answers().at(prompts[i]);
      EXPECT_TRUE(right) << prompts[i] << ": " << streams[i].end->status.message() << streams[i].text;
      ++(right ? answers : wrong);
    }
  }
}

void print_figures(const char* what, Clock::time_point start, const ProcessFigures& figures, int64_t answers) {
  std::printf("%6.0f s  %-10s %7.1f MB %5ld descriptors %5ld threads  %ld right answers\n",
              Seconds(Clock::now() - start).count(), what, static_cast<double>(figures.resident_bytes) / 1e6,
              static_cast<long>(figures.descriptors), static_cast<long>(figures.threads), static_cast<long>(answers));
  std::fflush(stdout);
}

// As many of each as before: what clients leave behind is gone within a minute. The gRPC library adds threads of its
// own when calls overlap as they never did before.
void expect_flat(const ProcessFigures& before, const std::function<ProcessFigures()>& now) {
  EXPECT_TRUE(comes_true([&] {
    const ProcessFigures figures = now();
    return figures.descriptors <= before.descriptors && figures.threads <= before.threads + kLibraryThreads;
  })) << now().descriptors
      << " descriptors instead of " << before.descriptors << ", " << now().threads << " threads instead of "
      << before.threads;
  EXPECT_TRUE(comes_true([&] { return now().resident_bytes <= before.resident_bytes + kGrowth; }))
      << now().resident_bytes << " bytes instead of " << before.resident_bytes;
}

// One service lives all the time, and does not grow.
TEST(Soak, OneServiceDoesNotGrow) {
  const ServeJob job({.flags = {"--kv-cache", "16M", "--max-context", "2048"}});
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration_cast<Clock::duration>(soak_time() / 2);
  std::atomic<int64_t> answers = 0, wrong = 0;
  std::thread asking([&] { ask_until(job, end, answers, wrong); });
  for (int fault = 0; fault < 7; ++fault) harm_service(job, fault);  // warm-up: every kind once
  const ProcessFigures before = figures_of(job.process());
  print_figures("service", start, before, answers);
  for (int fault = 0; Clock::now() + kFaultEvery < end; ++fault) {
    std::this_thread::sleep_for(kFaultEvery);
    harm_service(job, fault);
    print_figures("service", start, figures_of(job.process()), answers);
  }
  asking.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(answers, 0);
  expect_flat(before, [&job] { return figures_of(job.process()); });
  print_figures("service", start, figures_of(job.process()), answers);
}

// Clients as people run them, one after the other, that take up a lost answer again. One that starts while the job
// does, too, is told so, and comes back.
void generate_until(const std::string& address, Clock::time_point end, uint64_t seed, std::atomic<int64_t>& answers) {
  std::mt19937_64 random(seed);
  while (Clock::now() < end) {
    const std::string& prompt = any_prompt(random);
    const Outcome outcome = run_octet({"generate", prompt, "--server", address, "--resume-within", "240",
                                       "--temperature", "0", "--ignore-eos", "--max-tokens", std::to_string(kTokens)});
    if (outcome.exit_code == 1 && outcome.err.find("failed to connect") != std::string::npos) {
      std::this_thread::sleep_for(Seconds(1));
      continue;
    }
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, right_answers().at(prompt) + "\n");
    ++answers;
  }
}

// A job of two ranks is harmed every minute, comes back, and no client gets another answer than it should.
TEST(Soak, AJobComesBackAndItsParentDoesNotGrow) {
  ServeJob job({.num_ranks = 2, .flags = {"--heartbeat-limit", "4"}, .run_flags = {"--restart", "30"}});
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration_cast<Clock::duration>(soak_time() / 2);
  std::atomic<int64_t> answers = 0;
  std::vector<std::thread> clients;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    clients.emplace_back([&, seed] { generate_until(job.address(), end, seed, answers); });
  }
  ProcessFigures before;
  for (int fault = 0; Clock::now() + kFaultEvery < end; ++fault) {
    std::this_thread::sleep_for(kFaultEvery);
    const int rank = fault % 2;
    const pid_t process = await_process_of_rank(job.run(), rank);
    ASSERT_NE(process, 0) << "the job is gone";
    switch (fault / 2 % 3) {
      case 0:
        ::kill(process, SIGKILL);
        break;
      case 1:
        ::kill(process, SIGSTOP);
        std::this_thread::sleep_for(Seconds(2));  // shorter than the heartbeat limit
        ::kill(process, SIGCONT);
        break;
      default:
        ::kill(process, SIGSTOP);  // for ever
    }
    if (fault == 1) before = figures_of(job.run().pid());
    print_figures("parent", start, figures_of(job.run().pid()), answers);
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(answers, 0);
  if (before.resident_bytes > 0) expect_flat(before, [&job] { return figures_of(job.run().pid()); });
  job.run().send(SIGTERM);
  EXPECT_EQ(job.run().wait().exit_code, 0);
}

}  // namespace
}  // namespace octet::testing
