#include "collectives_check.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "comm/agreement.h"

namespace octet {
namespace {

// A tensor of the device, and the same in host memory.
class Rows {
 public:
  Rows(Backend& backend, DType dtype, Shape shape)
      : backend_(backend), host_(Tensor::host(dtype, shape)), device_(backend.allocate_tensor(dtype, shape)) {}

  TensorView host() const { return host_.view; }
  TensorView device() const { return device_.view; }
  void upload(Stream& stream) { backend_.upload(host_.view.data, device_.view, stream); }
  // Waits for the device's work.
  void download(CommWorld& world, Stream& stream) {
    backend_.download(device_.view, host_.view.data, stream);
    world.wait(stream);
  }

 private:
  Backend& backend_;
  Tensor host_, device_;
};

// Where the collectives of a check take place.
struct Site {
  CommWorld& world;
  Backend& backend;
  Stream& stream;
};

// The byte that a rank sends to another at some place of a message, different in every round.
std::byte byte_of(int from, int to, int64_t position, int round) {
  const auto mixed =
      static_cast<uint64_t>(from * 131 + to * 31 + round * 7 + 1) * (static_cast<uint64_t>(position) + 11);
  return static_cast<std::byte>((mixed * 0x9e3779b97f4a7c15U) >> 56);
}

void fill(std::span<std::byte> bytes, int from, int to, int round) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte_of(from, to, static_cast<int64_t>(i), round);
}

bool filled(std::span<const std::byte> bytes, int from, int to, int round) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != byte_of(from, to, static_cast<int64_t>(i), round)) return false;
  }
  return true;
}

// Rows that each rank sends to each other, [from][to]: half of the pairs send none.
std::vector<std::vector<int64_t>> random_rows(size_t size, int64_t most, std::mt19937& random) {
  std::vector<std::vector<int64_t>> rows(size, std::vector<int64_t>(size));
  for (auto& of_sender : rows) {
    for (int64_t& count : of_sender) count = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() % (most + 1));
  }
  return rows;
}

std::span<std::byte> bytes_of(TensorView rows) {
  return {static_cast<std::byte*>(rows.data), static_cast<size_t>(rows.num_bytes())};
}

int64_t sum(std::span<const int64_t> values) { return std::accumulate(values.begin(), values.end(), int64_t{0}); }

struct RowKind {
  DType dtype;
  int64_t width;
};

Status check_all_to_all(const Site& site, DeviceComm& group, const std::vector<std::vector<int64_t>>& rows,
                        RowKind kind, int round) {
  const auto self = static_cast<size_t>(group.rank());
  const std::vector<int64_t>& send_rows = rows[self];
  std::vector<int64_t> receive_rows;
  for (const auto& of_sender : rows) receive_rows.push_back(of_sender[self]);
  Rows send(site.backend, kind.dtype, {sum(send_rows), kind.width});
  Rows receive(site.backend, kind.dtype, {sum(receive_rows), kind.width});
  for (int to = 0, begin = 0; to < group.size(); ++to) {
    const int64_t count = send_rows[static_cast<size_t>(to)];
    fill(bytes_of(send.host().slice_rows(begin, count)), group.rank(), to, round);
    begin += static_cast<int>(count);
  }
  send.upload(site.stream);
  group.all_to_all_v(send.device(), send_rows, receive.device(), receive_rows, site.stream);
  receive.download(site.world, site.stream);
  for (int from = 0, begin = 0; from < group.size(); ++from) {
    const int64_t count = receive_rows[static_cast<size_t>(from)];
    if (!filled(bytes_of(receive.host().slice_rows(begin, count)), from, group.rank(), round)) {
      return failed("all_to_all_v: rank {} of {} got wrong rows from {}", group.rank(), group.size(), from);
    }
    begin += static_cast<int>(count);
  }
  return ok_status();
}

// Each rank contributes as many rows as it would send to itself, or in every third round as many as all others; in
// place in every second round.
Status check_all_gather(const Site& site, DeviceComm& group, const std::vector<std::vector<int64_t>>& rows,
                        RowKind kind, int round) {
  std::vector<int64_t> counts;
  for (size_t i = 0; i < rows.size(); ++i) counts.push_back(round % 3 == 2 ? round : rows[i][i]);
  const int64_t before = sum(std::span(counts).first(static_cast<size_t>(group.rank())));
  const int64_t count = counts[static_cast<size_t>(group.rank())];
  Rows all(site.backend, kind.dtype, {sum(counts), kind.width});
  Rows apart(site.backend, kind.dtype, {count, kind.width});
  const bool in_place = round % 2 == 1;
  fill(bytes_of(apart.host()), group.rank(), 0, round);
  if (in_place) fill(bytes_of(all.host().slice_rows(before, count)), group.rank(), 0, round);
  all.upload(site.stream);
  apart.upload(site.stream);
  group.all_gather_v(in_place ? all.device().slice_rows(before, count) : apart.device(), counts, all.device(),
                     site.stream);
  all.download(site.world, site.stream);
  int64_t begin = 0;
  for (int from = 0; from < group.size(); ++from) {
    const int64_t of_sender = counts[static_cast<size_t>(from)];
    if (!filled(bytes_of(all.host().slice_rows(begin, of_sender)), from, 0, round)) {
      return failed("all_gather_v: rank {} of {} has wrong rows of {}", group.rank(), group.size(), from);
    }
    begin += of_sender;
  }
  return ok_status();
}

// Whole numbers, whose sums are exact in any order.
float summand(int rank, int64_t i) { return static_cast<float>((rank + 1) * (i % 1000 + 1)); }

// The transport's own sums, where it has any: over all ranks, and of rows that the ranks share out, equally and not.
Status check_sums(const Site& site, DeviceComm& group, int round) {
  const std::unique_ptr<Reducer> reducer = group.make_reducer();
  if (reducer == nullptr) return ok_status();
  constexpr int64_t kWidth = 7;
  const int64_t each = round % 4;
  std::vector<int64_t> rows_of(static_cast<size_t>(group.size()), each);
  if (round % 2 == 1) rows_of[static_cast<size_t>(round % group.size())] += 5;
  Rows values(site.backend, DType::kF32, {sum(rows_of), kWidth});
  for (const bool scatter : {false, true}) {
    float* mine = values.host().as<float>();
    for (int64_t i = 0; i < values.host().num_elements(); ++i) mine[i] = summand(group.rank(), i);
    values.upload(site.stream);
    TensorView result = values.device();
    if (scatter) {
      result = reducer->reduce_scatter(values.device(), rows_of, site.stream);
    } else {
      reducer->all_reduce(values.device(), site.stream);
    }
    std::vector<float> sums(static_cast<size_t>(result.num_elements()));
    site.backend.download(result, sums.data(), site.stream);
    site.world.wait(site.stream);
    const int64_t first =
        scatter ? sum(std::span(rows_of).first(static_cast<size_t>(group.rank()))) * kWidth : int64_t{0};
    for (size_t i = 0; i < sums.size(); ++i) {
      const float factor = static_cast<float>(group.size() * (group.size() + 1) / 2);
      if (sums[i] != factor * summand(0, first + static_cast<int64_t>(i))) {
        return failed("{}: rank {} of {} has {} at {}", scatter ? "reduce_scatter" : "all_reduce", group.rank(),
                      group.size(), sums[i], i);
      }
    }
  }
  return ok_status();
}

Status check_group(const Site& site, const std::vector<int>& members, uint32_t seed) {
  CommWorld& world = site.world;
  const std::unique_ptr<DeviceComm> group = world.make_group(members);
  const auto expected = std::ranges::find(members, world.rank()) - members.begin();
  if (group->rank() != expected || group->size() != static_cast<int>(members.size())) {
    return failed("rank {} is number {} of {} in a group of {}", world.rank(), group->rank(), group->size(),
                  members.size());
  }
  constexpr RowKind kKinds[] = {{DType::kF32, 64}, {DType::kBF16, 33}, {DType::kI8, 1}, {DType::kI32, 1024}};
  std::mt19937 random(seed + static_cast<uint32_t>(members[0]) * 977 + static_cast<uint32_t>(members.size()));
  for (int round = 0; round < 12; ++round) {
    const int64_t most = round == 3 ? 0 : (round % 3 == 0 ? 80 : 5);
    const auto rows = random_rows(members.size(), most, random);
    const RowKind kind = kKinds[random() % std::size(kKinds)];
    world.progress().set_place(round, Phase::kDispatch);
    OCTET_RETURN_IF_ERROR(check_all_to_all(site, *group, rows, kind, round));
    world.progress().set_place(round, Phase::kGather);
    OCTET_RETURN_IF_ERROR(check_all_gather(site, *group, rows, kind, round));
    world.progress().set_place(round, Phase::kReduce);
    OCTET_RETURN_IF_ERROR(check_sums(site, *group, round));
  }
  return ok_status();
}

Status check_broadcast(HostComm& host, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> data;
  for (int round = 0; round < 20; ++round) {
    const int root = static_cast<int>(random() % static_cast<uint32_t>(host.size()));
    const size_t size = round % 4 == 0 ? 0 : random() % (round % 4 == 1 ? 100'000 : 50);
    if (host.rank() == root) {
      data.resize(size);
      fill(data, root, 0, round);
    }
    host.broadcast(data, root);
    if (data.size() != size || !filled(data, root, 0, round)) {
      return failed("broadcast: rank {} has {} bytes of {} from {}", host.rank(), data.size(), size, root);
    }
  }
  return ok_status();
}

Status check_gather(HostComm& host, uint32_t seed) {
  std::mt19937 random(seed + 1);
  for (int round = 0; round < 10; ++round) {
    std::vector<size_t> sizes;
    for (int i = 0; i < host.size(); ++i) sizes.push_back(random() % 3 == 0 ? 0 : random() % 20'000);
    const int root = static_cast<int>(random() % static_cast<uint32_t>(host.size()));
    std::vector<std::byte> mine(sizes[static_cast<size_t>(host.rank())]);
    fill(mine, host.rank(), 0, round);
    const bool everywhere = round % 2 == 1;
    const auto parts = everywhere ? host.all_gather(mine) : host.gather(mine, root);
    const bool here = everywhere || host.rank() == root;
    if (parts.size() != (here ? sizes.size() : 0)) return failed("gather: {} parts", parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].size() != sizes[i] || !filled(parts[i], static_cast<int>(i), 0, round)) {
        return failed("gather: rank {} has a wrong part of {}", host.rank(), i);
      }
    }
  }
  return ok_status();
}

std::vector<int> every(int step, int first, int end) {
  std::vector<int> ranks;
  for (int rank = first; rank < end; rank += step) ranks.push_back(rank);
  return ranks;
}

Status check_all(CommWorld& world, Backend& backend, uint32_t seed) {
  const std::unique_ptr<Stream> stream = backend.make_stream();
  const Site site{world, backend, *stream};
  const int size = world.size(), rank = world.rank();
  OCTET_RETURN_IF_ERROR(check_broadcast(world.host(), seed));
  OCTET_RETURN_IF_ERROR(check_gather(world.host(), seed));
  const int half = (size + 1) / 2;
  OCTET_RETURN_IF_ERROR(check_group(site, every(1, 0, size), seed));
  OCTET_RETURN_IF_ERROR(check_group(site, every(1, 0, size), seed + 1));  // again, the same members
  OCTET_RETURN_IF_ERROR(check_group(site, every(2, rank % 2, size), seed));
  OCTET_RETURN_IF_ERROR(rank < half ? check_group(site, every(1, 0, half), seed)
                                    : check_group(site, every(1, half, size), seed));
  OCTET_RETURN_IF_ERROR(check_group(site, {rank}, seed));
  world.host().barrier();
  return ok_status();
}

}  // namespace

Status check_collectives(CommWorld& world, Backend& backend, uint32_t seed) {
  return agree(world, check_all(world, backend, seed));
}

}  // namespace octet
