#include "collectives_check.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "comm/agreement.h"

namespace octet {
namespace {

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

Status check_all_to_all(DeviceComm& group, const std::vector<std::vector<int64_t>>& rows, RowKind kind, int round) {
  const auto self = static_cast<size_t>(group.rank());
  const std::vector<int64_t>& send_rows = rows[self];
  std::vector<int64_t> receive_rows;
  for (const auto& of_sender : rows) receive_rows.push_back(of_sender[self]);
  const Tensor send = Tensor::host(kind.dtype, {sum(send_rows), kind.width});
  const Tensor receive = Tensor::host(kind.dtype, {sum(receive_rows), kind.width});
  for (int to = 0, begin = 0; to < group.size(); ++to) {
    const int64_t count = send_rows[static_cast<size_t>(to)];
    fill(bytes_of(send.view.slice_rows(begin, count)), group.rank(), to, round);
    begin += static_cast<int>(count);
  }
  HostStream stream;
  group.all_to_all_v(send.view, send_rows, receive.view, receive_rows, stream);
  for (int from = 0, begin = 0; from < group.size(); ++from) {
    const int64_t count = receive_rows[static_cast<size_t>(from)];
    if (!filled(bytes_of(receive.view.slice_rows(begin, count)), from, group.rank(), round)) {
      return failed("all_to_all_v: rank {} of {} got wrong rows from {}", group.rank(), group.size(), from);
    }
    begin += static_cast<int>(count);
  }
  return ok_status();
}

// Each rank contributes as many rows as it would send to itself; in place in every second round.
Status check_all_gather(DeviceComm& group, const std::vector<std::vector<int64_t>>& rows, RowKind kind, int round) {
  std::vector<int64_t> counts;
  for (size_t i = 0; i < rows.size(); ++i) counts.push_back(rows[i][i]);
  const std::span<const int64_t> before = std::span(counts).first(static_cast<size_t>(group.rank()));
  const Tensor all = Tensor::host(kind.dtype, {sum(counts), kind.width});
  const Tensor apart = Tensor::host(kind.dtype, {counts[static_cast<size_t>(group.rank())], kind.width});
  const TensorView mine = round % 2 == 0 ? apart.view : all.view.slice_rows(sum(before), apart.view.rows());
  fill(bytes_of(mine), group.rank(), 0, round);
  HostStream stream;
  group.all_gather_v(mine, counts, all.view, stream);
  int64_t begin = 0;
  for (int from = 0; from < group.size(); ++from) {
    const int64_t count = counts[static_cast<size_t>(from)];
    if (!filled(bytes_of(all.view.slice_rows(begin, count)), from, 0, round)) {
      return failed("all_gather_v: rank {} of {} has wrong rows of {}", group.rank(), group.size(), from);
    }
    begin += count;
  }
  return ok_status();
}

Status check_group(CommWorld& world, const std::vector<int>& members, uint32_t seed) {
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
    OCTET_RETURN_IF_ERROR(check_all_to_all(*group, rows, kind, round));
    world.progress().set_place(round, Phase::kGather);
    OCTET_RETURN_IF_ERROR(check_all_gather(*group, rows, kind, round));
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

Status check_all(CommWorld& world, uint32_t seed) {
  const int size = world.size(), rank = world.rank();
  OCTET_RETURN_IF_ERROR(check_broadcast(world.host(), seed));
  OCTET_RETURN_IF_ERROR(check_gather(world.host(), seed));
  const int half = (size + 1) / 2;
  OCTET_RETURN_IF_ERROR(check_group(world, every(1, 0, size), seed));
  OCTET_RETURN_IF_ERROR(check_group(world, every(1, 0, size), seed + 1));  // again, the same members
  OCTET_RETURN_IF_ERROR(check_group(world, every(2, rank % 2, size), seed));
  OCTET_RETURN_IF_ERROR(rank < half ? check_group(world, every(1, 0, half), seed)
                                    : check_group(world, every(1, half, size), seed));
  OCTET_RETURN_IF_ERROR(check_group(world, {rank}, seed));
  world.host().barrier();
  return ok_status();
}

}  // namespace

Status check_collectives(CommWorld& world, uint32_t seed) { return agree(world, check_all(world, seed)); }

}  // namespace octet
