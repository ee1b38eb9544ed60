// DispatchPlan: which rows one rank sends, receives and brings home in an all-to-all of an expert group, computed from
// the choices of all rows of the group, which every rank knows: pure arithmetic on host memory.
//
// A row goes once to every rank of every place that computes one of its choices. What a place computed of it comes home
// as one sum (top_k <= 2: a sum of two does not depend on where it is formed), or each product alone; each of the ranks
// that share the place brings a near-equal part of the rows of each source.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace octet {

struct DispatchShape {
  int num_ranks = 1;  // of the expert group
  int etp = 1;        // ranks of a place: rank r of the group is number r % etp of place r / etp
  int rank = 0;       // this rank's index in the group
  int64_t top_k = 2;
  std::vector<std::vector<int>> places_of;  // [num_experts]: places that own each expert, ascending

  bool sums_travel() const { return top_k <= 2; }
  int place() const { return rank / etp; }
};

class DispatchPlan {
 public:
  // Rows or products that travel together: of every rank of the group, in its order.
  using Counts = std::vector<int64_t>;

  explicit DispatchPlan(DispatchShape shape);

  // ids, weights [Σ rows_of, top_k]: the choices of every rank's rows, in rank order. own_rows_stay: what of this
  // rank's rows is computed here is no part of what is sent, received and brought home; REQUIRES etp == 1 and sums that
  // travel. Allocates only while its lists grow.
  void compute(std::span<const int32_t> ids, std::span<const float> weights, std::span<const int64_t> rows_of,
               bool own_rows_stay = false);

  const DispatchShape& shape() const { return shape_; }

  // Rows on their way: of each row that is sent, by destination, which of this rank's rows it is; how many go where and
  // come whence; and of the received, by source, the choices (-1: another place's).
  const std::vector<int32_t>& sent_row() const { return sent_row_; }
  const Counts& send_rows() const { return send_rows_; }
  const Counts& receive_rows() const { return receive_rows_; }
  const std::vector<int32_t>& received_ids() const { return received_ids_; }        // [received, top_k]
  const std::vector<float>& received_weights() const { return received_weights_; }  // [received, top_k]
  int64_t num_received() const { return num_received_; }
  // Choices of the received rows that this place computes.
  int64_t num_assignments() const { return num_assignments_; }

  // The way home: what is brought, by source: indexes of received rows (sums), or of their choices, row · top_k + j
  // (products). How many go where and come whence; and of each choice of this rank's rows which arrival holds it, -1
  // where another choice's sum does. Where own rows stay, a sum of each of them stands before what arrives.
  const std::vector<int32_t>& returned() const { return returned_; }
  const Counts& return_rows() const { return return_rows_; }
  const Counts& arrive_rows() const { return arrive_rows_; }
  const std::vector<int32_t>& arrival_of_choice() const { return arrival_of_choice_; }  // [my rows, top_k]
  int64_t num_arrived() const { return num_arrived_; }

 private:
  int place_of(int32_t expert, int source) const;
  bool stays(int rank) const { return own_rows_stay_ && rank == shape_.rank; }
  void list_received(std::span<const int32_t> ids, std::span<const float> weights, std::span<const int64_t> rows_of);
  void list_sent(std::span<const int32_t> my_ids);
  void list_returned();
  void list_arrivals();

  DispatchShape shape_;
  std::vector<int32_t> sent_row_;
  Counts send_rows_, receive_rows_, return_rows_, arrive_rows_;
  std::vector<int32_t> received_ids_;
  std::vector<float> received_weights_;
  std::vector<int32_t> returned_, arrival_of_choice_;
  std::vector<int> place_of_choice_;  // of this rank's rows
  int64_t num_received_ = 0, num_assignments_ = 0, num_arrived_ = 0;
  bool own_rows_stay_ = false;
};

}  // namespace octet
