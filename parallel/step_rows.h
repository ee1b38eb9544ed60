// StepRows: who has which rows of a step, as one rank of the job sees it: a value that is made once a step, from which
// everything that carries rows knows what goes where. Pure arithmetic.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "parallel/shard_plan.h"
#include "parallel/topology.h"

namespace octet {

enum class RowLayoutKind {
  kSliced,      // a rank keeps a near-equal contiguous slice: no row is computed twice between attention blocks
  kReplicated,  // every rank keeps all rows: fewer, smaller messages
};

std::string_view row_layout_name(RowLayoutKind kind);

// The rows of one dp group in a step.
struct GroupRows {
  int64_t num_rows = 0;
  std::span<const int32_t> wanted;  // of them, ascending: those that go on behind the last layer's attention
};

struct StepRows {
  // In attention, among the ranks of the tp group.
  int64_t num_rows = 0;             // of the group
  Range mine;                       // of those, what this rank keeps between attention blocks
  std::vector<int64_t> rows_of_tp;  // [tp]: how many each rank keeps

  // On their way to the experts, among the ranks of the expert group: every rank brings rows, and all that are brought
  // stand in the order of the ranks.
  std::vector<int64_t> rows_of_experts;  // [ranks of the expert group]: how many each rank brings
  int64_t num_met = 0;                   // together
  Range brought;                         // of the rows that this rank keeps, what it brings
  Range home;                            // where, among all that are brought, the rows stand that this rank keeps
};

// Makes the StepRows of one rank.
class StepRowsMaker {
 public:
  StepRowsMaker(const Topology& topology, int rank) : topology_(topology), rank_(rank) {}

  // groups: of every dp index. `rows` is filled anew, and allocates nothing if it has been filled before.
  void make_all(RowLayoutKind layout, std::span<const GroupRows> groups, StepRows& rows) const;
  // The same of the wanted rows alone: each stays with the ranks that keep it.
  void make_wanted(RowLayoutKind layout, std::span<const GroupRows> groups, StepRows& rows) const;

 private:
  Topology topology_;
  int rank_;
};

}  // namespace octet
