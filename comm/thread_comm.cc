#include "comm/thread_comm.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "comm/local_comm.h"
#include "comm/local_world.h"
#include "comm/row_parts.h"
#include "runtime/base/check.h"

namespace octet {
namespace {

// Thrown out of a collective whose other ranks will not come.
struct WorldEnded {};

// What a rank shows the others during a collective.
struct Offer {
  const void* data = nullptr;
  std::span<const int64_t> rows;
};

// Where the ranks of one communicator meet. Between open() and close() every rank may read what the others offer.
class MeetingPoint {
 public:
  explicit MeetingPoint(size_t num_ranks) : offers_(num_ranks) {}

  // Returns once every rank has called it; throws WorldEnded after end().
  void open(int rank, Offer offer) {
    std::unique_lock lock(mutex_);
    if (ended_) throw WorldEnded{};
    offers_[static_cast<size_t>(rank)] = offer;
    if (!arrive(lock, [this] { return ended_; })) throw WorldEnded{};
  }
  const Offer& of(int rank) const { return offers_[static_cast<size_t>(rank)]; }

  // Returns once every rank has called it. All of them will, whatever has happened to other ranks: between the two they
  // only copy. Until then nothing that was offered may go away.
  void close() {
    std::unique_lock lock(mutex_);
    arrive(lock, [] { return false; });
  }

  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

 private:
  // Whether all ranks arrived before `give_up`.
  template <typename GiveUp>
  bool arrive(std::unique_lock<std::mutex>& lock, GiveUp give_up) {
    const uint64_t round = round_;
    if (++num_waiting_ == offers_.size()) {
      num_waiting_ = 0;
      ++round_;
      changed_.notify_all();
      return true;
    }
    changed_.wait(lock, [&] { return round_ != round || give_up(); });
    return round_ != round;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t num_waiting_ = 0;
  uint64_t round_ = 0;
  bool ended_ = false;
  std::vector<Offer> offers_;  // each written by its rank in open(), read by the others until close()
};

// The meeting points of a world, made by the first rank that asks.
class MeetingPoints {
 public:
  MeetingPoint& get(uint64_t group_key, size_t num_ranks) {
    const std::lock_guard lock(mutex_);
    const auto [entry, inserted] = points_.try_emplace(group_key, num_ranks);
    if (ended_) entry->second.end();
    return entry->second;
  }

  // Wakes every rank that waits, or ever will, for one that failed.
  void end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    for (auto& [key, point] : points_) point.end();
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, MeetingPoint> points_;
  bool ended_ = false;
};

class ThreadHostComm final : public HostComm {
 public:
  ThreadHostComm(int rank, int size, MeetingPoint& point, CommProgress& progress, CommProgress::Group& group)
      : rank_(rank), size_(size), point_(point), progress_(progress), group_(group) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void broadcast(std::vector<std::byte>& data, int root) override {
    CollectiveScope scope(progress_, group_, CollectiveKind::kBroadcast, 0, rank_ == root ? 0 : 1);
    point_.open(rank_, {&data, {}});
    if (rank_ != root) {
      data = *static_cast<const std::vector<std::byte>*>(point_.of(root).data);
      scope.received(static_cast<int64_t>(data.size()), 1);
    } else {
      scope.sent(static_cast<int64_t>(data.size()) * (size_ - 1));
    }
    point_.close();
  }

  std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, int root) override {
    CollectiveScope scope(progress_, group_, CollectiveKind::kGather, 0, rank_ == root ? size_ - 1 : 0);
    point_.open(rank_, {&mine, {}});
    std::vector<std::vector<std::byte>> all;
    if (rank_ != root) {
      scope.sent(static_cast<int64_t>(mine.size()));
    } else {
      for (int i = 0; i < size_; ++i) {
        const auto& part = *static_cast<const std::span<const std::byte>*>(point_.of(i).data);
        all.emplace_back(part.begin(), part.end());
        if (i != rank_) scope.received(static_cast<int64_t>(part.size()), 1);
      }
    }
    point_.close();
    return all;
  }

 private:
  const int rank_, size_;
  MeetingPoint& point_;
  CommProgress& progress_;
  CommProgress::Group& group_;
};

class ThreadGroup final : public DeviceComm {
 public:
  ThreadGroup(int rank, int size, MeetingPoint& point, CommProgress& progress, CommProgress::Group& group)
      : rank_(rank), size_(size), point_(point), progress_(progress), group_(group) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_gather_v(TensorView mine, std::span<const int64_t> rows, TensorView all, Stream&) override {
    OCTET_CHECK(rows.size() == static_cast<size_t>(size_) && mine.rows() == rows[static_cast<size_t>(rank_)]);
    const RowParts to(all, rows);
    CollectiveScope scope(progress_, group_, CollectiveKind::kAllGatherV, to.num_bytes_of_others(rank_),
                          to.num_others(rank_));
    point_.open(rank_, {mine.data, {}});
    for (int i = 0; i < size_; ++i) {
      copy_part(to.data(i), static_cast<const std::byte*>(point_.of(i).data), to.num_bytes(i));
      if (i != rank_ && to.num_bytes(i) > 0) scope.received(to.num_bytes(i), 1);
    }
    scope.sent(mine.num_bytes() * (size_ - 1));
    point_.close();
  }

  void all_to_all_v(TensorView send, std::span<const int64_t> send_rows, TensorView receive,
                    std::span<const int64_t> receive_rows, Stream&) override {
    OCTET_CHECK(send_rows.size() == static_cast<size_t>(size_) && receive_rows.size() == send_rows.size());
    const RowParts to(receive, receive_rows);
    CollectiveScope scope(progress_, group_, CollectiveKind::kAllToAllV, to.num_bytes_of_others(rank_),
                          to.num_others(rank_));
    scope.sent(RowParts(send, send_rows).num_bytes_of_others(rank_));
    point_.open(rank_, {&send, send_rows});
    for (int i = 0; i < size_; ++i) {
      const RowParts from(*static_cast<const TensorView*>(point_.of(i).data), point_.of(i).rows);
      OCTET_CHECK(from.num_bytes(rank_) == to.num_bytes(i), "rank {} sends {} bytes, rank {} expects {}", i,
                  from.num_bytes(rank_), rank_, to.num_bytes(i));
      copy_part(to.data(i), from.data(rank_), to.num_bytes(i));
      if (i != rank_ && to.num_bytes(i) > 0) scope.received(to.num_bytes(i), 1);
    }
    point_.close();
  }

 private:
  const int rank_, size_;
  MeetingPoint& point_;
  CommProgress& progress_;
  CommProgress::Group& group_;
};

std::vector<int> ranks_up_to(int num_ranks) {
  std::vector<int> ranks;
  for (int i = 0; i < num_ranks; ++i) ranks.push_back(i);
  return ranks;
}

class ThreadRank final : public CommWorld {
 public:
  ThreadRank(int rank, int size, MeetingPoints& points)
      : rank_(rank),
        size_(size),
        host_name_(local_host_name()),
        points_(points),
        all_(progress_.add_group(ranks_up_to(size))),
        host_(rank, size, points.get(all_.key, static_cast<size_t>(size)), progress_, all_) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int local_rank() const override { return rank_; }
  int local_size() const override { return size_; }
  const std::string& host_name() const override { return host_name_; }
  HostComm& host() override { return host_; }
  CommProgress& progress() override { return progress_; }

  std::unique_ptr<DeviceComm> make_group(std::span<const int> ranks) override {
    const auto mine = std::ranges::find(ranks, rank_);
    OCTET_CHECK(mine != ranks.end(), "rank {} makes a group that it is not in", rank_);
    if (ranks.size() == 1) return std::make_unique<LocalComm>();
    CommProgress::Group& group = progress_.add_group(ranks);
    return std::make_unique<ThreadGroup>(static_cast<int>(mine - ranks.begin()), static_cast<int>(ranks.size()),
                                         points_.get(group.key, ranks.size()), progress_, group);
  }

 private:
  const int rank_, size_;
  std::string host_name_;
  MeetingPoints& points_;
  CommProgress progress_;
  CommProgress::Group& all_;
  ThreadHostComm host_;
};

Status run_rank(CommWorld& world, const std::function<Status(CommWorld&)>& body) {
  try {
    return body(world);
  } catch (const WorldEnded&) {
    return {StatusCode::kRankLost, "another rank failed"};
  } catch (const std::exception& error) {
    return failed("rank {}: {}", world.rank(), error.what());
  }
}

}  // namespace

Status ThreadWorld::run(int num_ranks, const std::function<Status(CommWorld&)>& body) {
  MeetingPoints points;
  std::mutex first_failure_mutex;
  Status first_failure;
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadRank world(rank, num_ranks, points);
      Status status = run_rank(world, body);
      if (status.ok()) return;
      const std::lock_guard lock(first_failure_mutex);
      if (first_failure.ok()) first_failure = std::move(status);
      points.end();
    });
  }
  threads.clear();  // joins
  return first_failure;
}

}  // namespace octet
