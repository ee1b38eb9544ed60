// RowLayout: which of its tp group's token rows a rank keeps between attention blocks, and how all of them meet in
// attention. The layer's code calls gather and reduce; the layout decides what travels.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "comm/device_comm.h"
#include "comm/reducer.h"
#include "kernels/backend.h"
#include "parallel/shard_plan.h"

namespace octet {

enum class RowLayoutKind {
  kSliced,      // a rank keeps a near-equal contiguous slice: no row is computed twice between attention blocks
  kReplicated,  // every rank keeps all rows: fewer, smaller messages
};

std::string_view row_layout_name(RowLayoutKind kind);

class RowLayout {
 public:
  virtual ~RowLayout() = default;
  // A step of `num_rows` rows in the tp group begins. Returns the rows that this rank keeps.
  virtual Range begin(int64_t num_rows) = 0;
  // From now on only `rows` (ascending, of the tp group) count. Returns which entries of `rows` this rank keeps.
  virtual Range select(std::span<const int32_t> rows) = 0;
  // How many rows each rank of a tp group (one entry of `rows_of` a rank) keeps of num_rows rows; and, from that, how
  // many of the selected.
  virtual void count(int64_t num_rows, std::span<int64_t> rows_of) const = 0;
  virtual void count_selected(std::span<const int32_t> rows, std::span<int64_t> rows_of) const = 0;
  // All rows of the tp group, from this rank's rows: F32 [rows, hidden]. Valid until the next call; may be `mine`
  // itself.
  virtual TensorView gather(TensorView mine, Stream& stream) = 0;
  // From every rank's partial product over all rows of the tp group, the sums of this rank's rows. The result may be
  // `partial` itself, which is used up; valid until the next call.
  virtual TensorView reduce(TensorView partial, Stream& stream) = 0;
};

class ReplicatedRows final : public RowLayout {
 public:
  explicit ReplicatedRows(Reducer& tp_reducer) : tp_reducer_(tp_reducer) {}
  Range begin(int64_t num_rows) override { return {0, num_rows}; }
  Range select(std::span<const int32_t> rows) override { return {0, std::ssize(rows)}; }
  void count(int64_t num_rows, std::span<int64_t> rows_of) const override;
  void count_selected(std::span<const int32_t> rows, std::span<int64_t> rows_of) const override;
  TensorView gather(TensorView mine, Stream&) override { return mine; }
  TensorView reduce(TensorView partial, Stream& stream) override;

 private:
  Reducer& tp_reducer_;
};

class SlicedRows final : public RowLayout {
 public:
  // max_rows of the tp group, each of `width` elements.
  SlicedRows(Backend& backend, DeviceComm& tp, Reducer& tp_reducer, int64_t max_rows, int64_t width);
  Range begin(int64_t num_rows) override;
  Range select(std::span<const int32_t> rows) override;
  void count(int64_t num_rows, std::span<int64_t> rows_of) const override;
  void count_selected(std::span<const int32_t> rows, std::span<int64_t> rows_of) const override;
  TensorView gather(TensorView mine, Stream& stream) override;
  TensorView reduce(TensorView partial, Stream& stream) override;

 private:
  Range mine() const;

  DeviceComm& tp_;
  Reducer& tp_reducer_;
  Tensor gathered_;               // [max_rows, width]
  std::vector<int64_t> rows_of_;  // of each rank
};

}  // namespace octet
