// The expert exchanges, driven directly by random routings over in-process ranks: what comes home is right, and what
// travelled is exactly what the routing implies, computed here by a plain count.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "comm/thread_comm.h"
#include "kernels/backend_factory.h"
#include "parallel/expert_exchange_all_to_all.h"
#include "parallel/expert_exchange_replicated.h"
#include "parallel/expert_placement.h"
#include "runtime/base/float16.h"

namespace octet {
namespace {

constexpr int64_t kExperts = 8, kHidden = 6, kMaxRows = 24;
using Places = std::vector<std::vector<int32_t>>;

// What one rank brings into the exchange.
struct Mine {
  std::vector<int32_t> ids;    // [rows, top_k], distinct in a row
  std::vector<float> weights;  // [rows, top_k]
  std::vector<float> rows;     // [rows, kHidden]
  int64_t num_rows = 0;
};

Mine random_rows(int64_t num_rows, int64_t top_k, uint32_t seed) {
  std::mt19937 random(seed);
  Mine mine;
  mine.num_rows = num_rows;
  std::vector<int32_t> deck(kExperts);
  std::iota(deck.begin(), deck.end(), 0);
  for (int64_t row = 0; row < num_rows; ++row) {
    std::shuffle(deck.begin(), deck.end(), random);
    mine.ids.insert(mine.ids.end(), deck.begin(), deck.begin() + top_k);
  }
  const auto real = [&](int64_t) { return static_cast<float>(random()) / 4e9F - 0.3F; };
  for (int64_t i = 0; i < num_rows * top_k; ++i) mine.weights.push_back(real(i));
  for (int64_t i = 0; i < num_rows * kHidden; ++i) mine.rows.push_back(real(i));
  return mine;
}

struct Case {
  Topology topology;
  Places places;
  int64_t top_k = 2;
  bool replicated = false;
  DType dtype = DType::kF32;
  bool keeps = false;  // rows whose experts are here are computed on their own

  std::string text() const {
    return fmt::format("tp {} dp {} ep {} etp {} replicas {}, top {}, {} {}{}, places of {}", topology.tp, topology.dp,
                       topology.ep, topology.etp, topology.replicas, top_k, replicated ? "replicated" : "all-to-all",
                       dtype_name(dtype), keeps ? ", own rows stay" : "", fmt::join(places[0], " "));
  }
};

// What each rank starts with: a slice of its own, or, replicated, its dp group's rows.
std::vector<Mine> rows_of_ranks(const Case& test) {
  std::vector<Mine> all;
  for (int rank = 0; rank < test.topology.world; ++rank) {
    const int owner = test.replicated ? test.topology.dp_index(rank) : rank;
    const auto seed = static_cast<uint32_t>(1000 * test.top_k + owner);
    const int64_t most = test.replicated ? kMaxRows : kMaxRows / test.topology.tp;
    all.push_back(random_rows((seed * 7919U) % (most + 1), test.top_k, seed));
  }
  return all;
}

// The bytes one rank sends, by what for.
struct Bytes {
  int64_t counts = 0, dispatch = 0, expert_reduce = 0, combine = 0;
  bool operator==(const Bytes&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Bytes& bytes) {
  return out << fmt::format("metadata {}, dispatch {}, expert reduce {}, combine {}", bytes.counts, bytes.dispatch,
                            bytes.expert_reduce, bytes.combine);
}

Bytes sent_bytes(const CommProgress& progress) {
  const auto totals = progress.totals();
  const auto of = [&](Phase phase) { return totals[static_cast<size_t>(phase)].bytes_sent; };
  return {of(Phase::kDispatchCounts), of(Phase::kDispatch), of(Phase::kExpertReduce), of(Phase::kCombine)};
}

// An all-reduce of `rows` rows by one of `size` ranks: its part of the sum to all, and all other parts of its own
// contribution away.
int64_t all_reduce_bytes(int64_t rows, int64_t size, int64_t index, int64_t row_bytes) {
  const int64_t part = (index + 1) * rows / size - index * rows / size;
  return ((rows - part) + part * (size - 1)) * row_bytes;
}

// The place that computes a choice of a rank: its own if the expert is there, else by the rank's index.
int place_of(const Case& test, int rank, int32_t expert) {
  std::vector<int> owners;
  for (int place = 0; place < test.topology.ep; ++place) {
    const auto& experts = test.places[static_cast<size_t>(place)];
    if (std::count(experts.begin(), experts.end(), expert) > 0) owners.push_back(place);
  }
  const int home = test.topology.ep_index(rank);
  if (std::count(owners.begin(), owners.end(), home) > 0) return home;
  const int index = home * test.topology.etp + test.topology.etp_index(rank);
  return owners[static_cast<size_t>(index) % owners.size()];
}

// Row by row: the row goes to every rank of every place that computes one of its choices, and home comes one row from
// each place (of more than two experts: one a choice), from the rank of the place whose part it falls into.
std::vector<Bytes> all_to_all_bytes(const Case& test, const std::vector<Mine>& ranks, int64_t wire_row) {
  const Topology& t = test.topology;
  std::vector<Bytes> bytes(ranks.size());
  std::vector<int64_t> computed(ranks.size(), 0);  // (row, choice) pairs at each rank
  for (int rank = 0; rank < t.world; ++rank) {
    const Mine& mine = ranks[static_cast<size_t>(rank)];
    std::vector<std::vector<int64_t>> choices_at(static_cast<size_t>(t.ep));  // of each row that goes there: how many
    for (int64_t row = 0; row < mine.num_rows; ++row) {
      std::map<int, int64_t> choices;
      for (int64_t j = 0; j < test.top_k; ++j) {
        ++choices[place_of(test, rank, mine.ids[static_cast<size_t>(row * test.top_k + j)])];
      }
      for (const auto& [place, count] : choices) choices_at[static_cast<size_t>(place)].push_back(count);
    }
    const int base = rank - t.ep_index(rank) * t.etp - t.etp_index(rank);
    for (int to = base; to < base + t.ep * t.etp; ++to) {
      const std::vector<int64_t>& rows = choices_at[static_cast<size_t>(t.ep_index(to))];
      const int64_t num_rows = std::ssize(rows);
      computed[static_cast<size_t>(to)] += std::accumulate(rows.begin(), rows.end(), int64_t{0});
      if (to == rank) continue;
      Bytes& sender = bytes[static_cast<size_t>(rank)];
      sender.counts += mine.num_rows * 2 * test.top_k * 4;
      sender.dispatch += num_rows * wire_row;
      const int64_t begin = t.etp_index(to) * num_rows / t.etp, end = (t.etp_index(to) + 1) * num_rows / t.etp;
      const int64_t products =
          test.top_k <= 2 ? end - begin : std::accumulate(rows.begin() + begin, rows.begin() + end, int64_t{0});
      bytes[static_cast<size_t>(to)].combine += products * wire_row;
    }
  }
  for (int rank = 0; rank < t.world && t.etp > 1; ++rank) {
    bytes[static_cast<size_t>(rank)].expert_reduce =
        all_reduce_bytes(computed[static_cast<size_t>(rank)], t.etp, t.etp_index(rank), kHidden * 4);
  }
  return bytes;
}

// Where a group holds rows of several dp groups, their ranks hand them to all others in near-equal parts; sums of all
// rows are reduced over the places in fp32.
std::vector<Bytes> replicated_bytes(const Case& test, const std::vector<Mine>& ranks, int64_t wire_row) {
  const Topology& t = test.topology;
  std::vector<Bytes> bytes(ranks.size());
  const int group_size = t.ep * t.etp;
  for (int rank = 0; rank < t.world; ++rank) {
    const int base = t.replica(rank) * group_size;
    std::map<int, std::vector<int>> ranks_of_dp;
    for (int other = base; other < base + group_size; ++other) ranks_of_dp[t.dp_index(other)].push_back(other);
    int64_t rows_here = 0, computed = 0;
    for (const auto& [dp, members] : ranks_of_dp) {
      const Mine& rows = ranks[static_cast<size_t>(members[0])];
      rows_here += rows.num_rows;
      for (const int32_t expert : rows.ids) {
        int first = 0;  // the first place that has it computes it
        while (std::ranges::count(test.places[static_cast<size_t>(first)], expert) == 0) ++first;
        computed += first == t.ep_index(rank) ? 1 : 0;
      }
    }
    Bytes& mine = bytes[static_cast<size_t>(rank)];
    const std::vector<int>& sharers = ranks_of_dp[t.dp_index(rank)];
    const int64_t index = std::ranges::find(sharers, rank) - sharers.begin();
    const int64_t num_rows = ranks[static_cast<size_t>(rank)].num_rows, size = std::ssize(sharers);
    const int64_t share = (index + 1) * num_rows / size - index * num_rows / size;
    if (ranks_of_dp.size() > 1) {
      mine.dispatch = share * (group_size - 1) * wire_row;
      mine.counts = share * (group_size - 1) * 2 * test.top_k * 4;
    }
    if (t.etp > 1) mine.expert_reduce = all_reduce_bytes(computed, t.etp, t.etp_index(rank), kHidden * 4);
    if (t.ep > 1) mine.combine = all_reduce_bytes(rows_here, t.ep, t.ep_index(rank), kHidden * 4);
  }
  return bytes;
}

// An expert's answer to a row: exact in fp32 whoever computes it.
float answer(int32_t expert, float value) { return value * static_cast<float>(1 << expert); }

float rounded(float value, DType dtype) { return dtype == DType::kBF16 ? bf16_to_f32(f32_to_bf16(value)) : value; }

// Σ weight · answer over a row's experts in ascending id. In bf16 the row, every product and the sum are rounded.
std::vector<float> expected_sums(const Mine& mine, int64_t top_k, DType dtype) {
  std::vector<float> sums(static_cast<size_t>(mine.num_rows * kHidden), 0.0F);
  for (int64_t row = 0; row < mine.num_rows; ++row) {
    for (int32_t expert = 0; expert < kExperts; ++expert) {
      for (int64_t j = 0; j < top_k; ++j) {
        const auto choice = static_cast<size_t>(row * top_k + j);
        if (mine.ids[choice] != expert) continue;
        for (int64_t i = 0; i < kHidden; ++i) {
          const auto at = static_cast<size_t>(row * kHidden + i);
          sums[at] += rounded(mine.weights[choice] * answer(expert, rounded(mine.rows[at], dtype)), dtype);
        }
      }
    }
  }
  for (float& sum : sums) sum = rounded(sum, dtype);
  return sums;
}

// y = what the local experts make of a route. Of the ranks that share a place the first computes, the others add
// nothing.
void compute(const Route& route, const std::vector<int32_t>& experts, bool computes, TensorView y) {
  const int32_t* offsets = route.groups.offsets.as<int32_t>();
  for (size_t e = 0; computes && e < experts.size(); ++e) {
    for (int64_t a = offsets[e]; a < offsets[e + 1]; ++a) {
      const int64_t row = route.groups.assignment_row.as<int32_t>()[a];
      for (int64_t i = 0; i < kHidden; ++i) {
        y.as<float>()[a * kHidden + i] = answer(experts[e], route.rows.as<float>()[row * kHidden + i]);
      }
    }
  }
}

std::unique_ptr<ExpertExchange> make_exchange(const Case& test, Backend& backend, ModelComms& comms) {
  const ExchangeShape shape{kExperts, test.top_k, kHidden, kMaxRows, test.places, test.dtype, test.keeps ? 1 : 0};
  if (test.replicated) return std::make_unique<ReplicatedExpertExchange>(backend, comms, test.topology, shape);
  return std::make_unique<AllToAllExpertExchange>(backend, comms, test.topology, shape);
}

// What one rank knows of the step. Slices here are of any size.
StepRows step_rows(const Case& test, const std::vector<Mine>& ranks, int rank) {
  const Topology& t = test.topology;
  StepRows rows;
  if (test.replicated) {
    std::vector<GroupRows> groups;
    for (int first = 0; first < t.world; first += t.tp)
      groups.push_back({ranks[static_cast<size_t>(first)].num_rows, {}});
    StepRowsMaker(t, rank).make_all(RowLayoutKind::kReplicated, groups, rows);
    return rows;
  }
  const int base = t.replica(rank) * t.ep * t.etp;
  for (int other = base; other < base + t.ep * t.etp; ++other) {
    const int64_t count = ranks[static_cast<size_t>(other)].num_rows;
    if (other == rank) rows.home = {rows.num_met, rows.num_met + count};
    rows.rows_of_experts.push_back(count);
    rows.num_met += count;
  }
  rows.brought = {0, rows.home.size()};
  return rows;
}

// One exchange on one rank: what came home.
std::vector<float> exchange_rows(const Case& test, const std::vector<Mine>& ranks, ExpertExchange& exchange, int rank) {
  HostStream stream;
  const StepRows step = step_rows(test, ranks, rank);
  Mine mine = ranks[static_cast<size_t>(rank)];
  const int64_t num_rows = mine.num_rows;
  const TensorView rows{mine.rows.data(), DType::kF32, {num_rows, kHidden}};
  const TensorView ids{mine.ids.data(), DType::kI32, {num_rows, test.top_k}};
  const TensorView weights{mine.weights.data(), DType::kF32, {num_rows, test.top_k}};
  const RoutedRows routed{rows, ids, weights};
  exchange.announce(step, rows, stream);
  const auto& experts = test.places[static_cast<size_t>(test.topology.ep_index(rank))];
  const bool computes = test.topology.etp_index(rank) == 0;
  const Tensor y = Tensor::host(DType::kF32, {exchange.max_assignments(), kHidden});
  int64_t num_kept = 0;
  const auto kept = exchange.keep(step, routed, stream);
  const bool can_keep = test.keeps && test.top_k <= 2 && test.topology.ep > 1 && test.topology.etp == 1;
  EXPECT_EQ(kept.has_value(), can_keep && num_rows * test.top_k >= kExperts);
  if (kept) {
    num_kept = kept->groups.assignment_row.num_elements();
    compute(*kept, experts, computes, y.view.slice_rows(0, num_kept));
  }
  const Route route = exchange.dispatch(step, routed, stream);
  if (!test.replicated && route.rows.rows() > 0) {  // the host knows who computes how much
    const int32_t* offsets = route.groups.offsets.as<int32_t>();
    EXPECT_TRUE(std::ranges::equal(route.groups.host_offsets, std::span(offsets, route.groups.offsets.rows())));
  }
  const int64_t num_dispatched = route.groups.assignment_row.num_elements();
  compute(route, experts, computes, y.view.slice_rows(num_kept, num_dispatched));
  std::vector<float> home(static_cast<size_t>(num_rows * kHidden), 1e30F);
  exchange.combine(step, route, y.view.slice_rows(0, num_kept + num_dispatched),
                   {home.data(), DType::kF32, {num_rows, kHidden}}, stream);
  return home;
}

void check(const Case& test) {
  SCOPED_TRACE(test.text());
  const std::vector<Mine> ranks = rows_of_ranks(test);
  const int64_t wire_row = kHidden * dtype_size(test.dtype);
  const std::vector<Bytes> expected =
      test.replicated ? replicated_bytes(test, ranks, wire_row) : all_to_all_bytes(test, ranks, wire_row);
  const Status status = ThreadWorld::run(test.topology.world, [&](CommWorld& world) -> Status {
    OCTET_ASSIGN_OR_RETURN(const auto backend, make_backend({"reference", 1, ""}));
    ModelComms comms(world, test.topology);
    const auto exchange = make_exchange(test, *backend, comms);
    const auto rank = static_cast<size_t>(world.rank());
    EXPECT_EQ(exchange_rows(test, ranks, *exchange, world.rank()), expected_sums(ranks[rank], test.top_k, test.dtype));
    EXPECT_EQ(sent_bytes(world.progress()), expected[rank]) << "rank " << rank;
    return ok_status();
  });
  EXPECT_TRUE(status.ok()) << status.message();
}

// Experts 0 and 5 everywhere besides where they belong.
Places with_replicas(Places places) {
  for (auto& place : places) {
    std::set<int32_t> experts(place.begin(), place.end());
    experts.insert({0, 5});
    place.assign(experts.begin(), experts.end());
  }
  return places;
}

class ExchangeTest : public testing::TestWithParam<int> {
 protected:
  // Every layout and placement of the world.
  void check_all(bool replicated, const std::vector<int64_t>& top_ks) const {
    for (const int tp : {1, 2, 4, 8}) {
      for (const int etp : {1, 2, 4, 8}) {
        for (int ep = 1; ep <= kExperts; ++ep) {
          const auto topology = make_topology({.world = GetParam(), .tp = tp, .ep = ep, .etp = etp}, {8, kExperts});
          if (!topology.ok()) continue;
          const Places linear = place_experts_linear(kExperts, ep);
          for (const int64_t top_k : top_ks) {
            check({*topology, linear, top_k, replicated});
            check({*topology, with_replicas(linear), top_k, replicated});
            check({*topology, place_experts_round_robin(kExperts, ep), top_k, replicated});
            check({*topology, with_replicas(linear), top_k, replicated, DType::kBF16});
          }
        }
      }
    }
  }
};

TEST_P(ExchangeTest, AllToAllSendsWhatTheRoutingImpliesAndBringsTheSumsHome) { check_all(false, {1, 2, 3}); }

// Rows that stay change neither what travels nor a bit of the sums.
TEST_P(ExchangeTest, AllToAllOfTheRestBringsTheSameSumsHome) {
  for (const int tp : {1, 2, 4}) {
    for (int ep = 1; ep <= kExperts; ++ep) {
      for (const int etp : {1, 2}) {
        const auto topology = make_topology({.world = GetParam(), .tp = tp, .ep = ep, .etp = etp}, {8, kExperts});
        if (!topology.ok()) continue;
        for (const int64_t top_k : {1, 2, 3}) {
          for (const DType dtype : {DType::kF32, DType::kBF16}) {
            const Places linear = place_experts_linear(kExperts, ep);
            check({*topology, linear, top_k, false, dtype, true});
            check({*topology, with_replicas(linear), top_k, false, dtype, true});
          }
        }
      }
    }
  }
}

TEST_P(ExchangeTest, ReplicatedSendsTheClosedFormAndBringsTheSumsHome) { check_all(true, {1, 2}); }

INSTANTIATE_TEST_SUITE_P(Worlds, ExchangeTest, testing::Values(1, 2, 3, 4, 8));

}  // namespace
}  // namespace octet
