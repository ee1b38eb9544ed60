// What of a client's bytes reaches the library, and what the client is told instead.
#include "runtime/gate/http2_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/gate/address_account.h"

namespace octet {
namespace {

using ::testing::HasSubstr;

constexpr int kUnimplemented = 12, kResourceExhausted = 8, kUnauthenticated = 16;

std::string settings() { return make_frame(FrameType::kSettings, 0, 0, ""); }
std::string greeting() { return std::string(kPreface) + settings(); }

std::string fields(const std::string& path, const HeaderFields& more = {}) {
  std::string block;
  append_field(block, ":method", "POST");
  append_field(block, ":path", path);
  for (const auto& [name, value] : more) append_field(block, name, value);
  return block;
}

std::string headers(uint32_t stream, const HeaderFields& more = {}, uint8_t flags = kEndHeaders) {
  return make_frame(FrameType::kHeaders, flags, stream, fields("/a/b", more));
}

std::string data(uint32_t stream, const std::string& bytes, uint8_t flags = 0) {
  return make_frame(FrameType::kData, flags, stream, bytes);
}

// The beginning of a message of this size.
std::string message(uint32_t size, const std::string& begin, char compressed = 0) {
  std::string bytes(1, compressed);
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(size >> shift);
  return bytes + begin;
}

struct Frame {
  FrameHead head;
  std::string payload;
};

std::vector<Frame> frames(std::string_view bytes) {
  std::vector<Frame> found;
  while (!bytes.empty()) {
    OCTET_CHECK(bytes.size() >= kFrameHeadBytes);
    Frame& frame = found.emplace_back();
    frame.head = parse_frame_head(bytes);
    OCTET_CHECK(bytes.size() >= kFrameHeadBytes + frame.head.length);
    frame.payload = bytes.substr(kFrameHeadBytes, frame.head.length);
    bytes.remove_prefix(kFrameHeadBytes + frame.head.length);
  }
  return found;
}

HeaderFields fields_of(const std::string& block) {
  HeaderReader reader(1 << 20);
  HeaderReader::Block read;
  OCTET_CHECK(reader.read(block, read));
  return read.fields;
}

class Filter : public ::testing::Test {
 protected:
  // The library has greeted, too.
  void greet() {
    ASSERT_TRUE(filter_.take_from_client(greeting()));
    filter_.take_from_server(settings());
    filter_.to_server().clear();
    filter_.to_client().clear();
  }
  bool send(const std::string& bytes) { return filter_.take_from_client(bytes); }
  std::string to_server() { return std::exchange(filter_.to_server(), {}); }
  std::string to_client() { return std::exchange(filter_.to_client(), {}); }

  // The stream has ended with this status, and the library has not heard of it or has been told to forget it.
  void expect_refused(uint32_t stream, int status, const std::string& why) {
    const auto told = frames(to_client());
    const auto answer = std::ranges::find_if(told, [](const Frame& f) { return f.head.type == FrameType::kHeaders; });
    ASSERT_NE(answer, told.end());
    EXPECT_EQ(answer->head.stream, stream);
    EXPECT_TRUE(answer->head.has(kEndStream));
    std::map<std::string, std::string> said;
    for (const auto& [name, value] : fields_of(answer->payload)) said[name] = value;
    EXPECT_EQ(said["grpc-status"], std::to_string(status));
    EXPECT_THAT(said["grpc-message"], HasSubstr(why));
    EXPECT_FALSE(filter_.has_streams());
    EXPECT_EQ(filter_.held_bytes(), 0);
  }

  FilterOptions options_{
      .max_message_bytes = [](std::string_view) { return size_t{1000}; }, .max_header_bytes = 4000, .max_streams = 4};
  Http2Filter filter_{options_};
};

TEST_F(Filter, GivesOnWhatIsAsked) {
  EXPECT_TRUE(send(greeting()));
  EXPECT_TRUE(filter_.greeted());
  EXPECT_EQ(to_server(), greeting());
  filter_.take_from_server(settings());
  EXPECT_EQ(to_client(), settings());
  const std::string body = data(1, message(3, "abc"), kEndStream);
  EXPECT_TRUE(send(headers(1, {{"a", "b"}}) + body));
  const std::string given = to_server();
  EXPECT_TRUE(given.ends_with(body));
  const auto request = frames(given).front();
  EXPECT_EQ(fields_of(request.payload), (HeaderFields{{":method", "POST"}, {":path", "/a/b"}, {"a", "b"}}));
  EXPECT_TRUE(filter_.has_streams());
  filter_.take_from_server(data(1, "x") + make_frame(FrameType::kHeaders, kEndHeaders | kEndStream, 1, "\x88"));
  EXPECT_FALSE(filter_.has_streams());
}

TEST_F(Filter, OtherProtocolsEndAtTheirFirstWrongByte) {
  for (const std::string wrong : {"GET / HTTP/1.1\r\n", "PRI * HTTP/1", "\x16\x03\x01"}) {
    Http2Filter filter(options_);
    EXPECT_FALSE(filter.take_from_client(wrong)) << wrong;
    EXPECT_TRUE(filter.to_server().empty());
  }
}

TEST_F(Filter, CompressedMessagesAreRefused) {
  greet();
  EXPECT_TRUE(send(headers(1)));
  to_server();
  EXPECT_TRUE(send(data(1, message(10, "0123456789", 1))));
  expect_refused(1, kUnimplemented, "compressed");
  EXPECT_EQ(frames(to_server()).front().head.type, FrameType::kRstStream);  // and nothing else
  EXPECT_TRUE(send(headers(3, {{"grpc-encoding", "gzip"}})));
  expect_refused(3, kUnimplemented, "compressed");
  EXPECT_TRUE(to_server().empty());
}

TEST_F(Filter, AMessageIsRefusedWhenItAnnouncesTooMuch) {
  greet();
  EXPECT_TRUE(send(headers(1) + data(1, message(1000, std::string(1000, 'a')), kEndStream)));
  filter_.take_from_server(make_frame(FrameType::kHeaders, kEndHeaders | kEndStream, 1, "\x88"));
  to_server();
  to_client();
  EXPECT_TRUE(send(headers(3) + data(3, message(1001, "a"))));
  expect_refused(3, kResourceExhausted, "1001 bytes");
}

// What of a refused request still comes counts for the connection's window, and nobody else counts it.
TEST_F(Filter, BytesOfRefusedRequestsAreCredited) {
  options_.judge = [](const RequestHead& head) -> std::optional<Refusal> {
    if (head.authorization == "Bearer k") return std::nullopt;
    return Refusal{kUnauthenticated, "no key", "details"};
  };
  greet();
  EXPECT_TRUE(send(headers(1, {{"authorization", "Bearer x"}})));
  expect_refused(1, kUnauthenticated, "no key");
  EXPECT_TRUE(send(data(1, std::string(700, 'a'))));
  EXPECT_TRUE(to_server().empty());
  EXPECT_EQ(to_client(), make_window_update(0, 700));
  EXPECT_TRUE(send(headers(3, {{"authorization", "Bearer k"}})));
  EXPECT_TRUE(filter_.has_streams());
}

TEST_F(Filter, HeadersHaveABound) {
  greet();
  EXPECT_TRUE(send(headers(1, {{"x", std::string(4000, 'a')}})));
  expect_refused(1, kResourceExhausted, "4000 bytes of headers");
  EXPECT_TRUE(send(headers(3)));
  // One that refers to a large field of the table again and again is not larger on the wire.
  std::string large = fields("/a/b") + "\x40\x01x\x7f\x81\x06" + std::string(896, 'a');
  EXPECT_TRUE(send(make_frame(FrameType::kHeaders, kEndHeaders, 5, large + std::string(10'000, '\xbe'))));
  EXPECT_THAT(to_client(), HasSubstr("bytes of headers"));
}

TEST_F(Filter, AHeaderBlockEnds) {
  for (const std::string& piece : {std::string(), std::string(10'000, '\0')}) {
    Http2Filter filter(options_);
    EXPECT_TRUE(filter.take_from_client(greeting() + headers(1, {}, 0)));
    int num_taken = 0;
    while (num_taken < 1000 && filter.take_from_client(make_frame(FrameType::kContinuation, 0, 1, piece))) ++num_taken;
    EXPECT_LT(num_taken, 40);
  }
}

TEST_F(Filter, MoreStreamsThanAllowedAreRefused) {
  greet();
  for (const uint32_t stream : {1, 3, 5, 7}) EXPECT_TRUE(send(headers(stream)));
  EXPECT_TRUE(to_client().empty());
  EXPECT_TRUE(send(headers(9)));
  EXPECT_EQ(to_client(), make_rst_stream(9, Http2Error::kRefusedStream));
}

TEST_F(Filter, KnowsWhatIsNotComplete) {
  greet();
  EXPECT_TRUE(send(headers(1)));
  const int64_t of_stream = filter_.held_bytes();
  EXPECT_GT(of_stream, 0);
  EXPECT_TRUE(send(data(1, message(1000, std::string(400, 'a')))));
  EXPECT_EQ(filter_.held_bytes(), of_stream + 400);
  EXPECT_TRUE(send(headers(3) + data(3, message(4, "abcd"))));  // a message is whole, more may come
  const auto now = Http2Filter::Clock::now();
  EXPECT_FALSE(filter_.refuse_unfinished(now - std::chrono::hours(1), {kResourceExhausted, "late"}));
  EXPECT_TRUE(filter_.refuse_unfinished(now + std::chrono::hours(1), {kResourceExhausted, "late"}));
  EXPECT_FALSE(filter_.refuse_unfinished(now + std::chrono::hours(1), {kResourceExhausted, "late"}));
  EXPECT_EQ(filter_.held_bytes(), of_stream);
  EXPECT_THAT(to_server(), HasSubstr(make_rst_stream(1, Http2Error::kCancel)));
}

// A request that is answered costs nothing; one that is not costs, with its bytes.
TEST_F(Filter, WasteIsCounted) {
  greet();
  filter_.take_waste();
  EXPECT_TRUE(send(headers(1) + data(1, message(3, "abc"), kEndStream)));
  filter_.take_from_server(headers(1) + data(1, message(1, "a")) + headers(1, {}, kEndHeaders | kEndStream));
  EXPECT_EQ(filter_.take_waste(), 0);
  EXPECT_TRUE(filter_.answered());
  const std::string body = message(900, std::string(900, 'a'));
  EXPECT_TRUE(send(headers(3) + data(3, body, kEndStream)));
  filter_.take_from_server(headers(3, {}, kEndHeaders | kEndStream));
  EXPECT_EQ(filter_.take_waste(), waste::kRequest + 900 * waste::kByte);
  EXPECT_TRUE(send(headers(5) + make_rst_stream(5, Http2Error::kCancel)));
  EXPECT_EQ(filter_.take_waste(), waste::kRequest);
  EXPECT_TRUE(send(make_rst_stream(5, Http2Error::kCancel)));
  EXPECT_EQ(filter_.take_waste(), waste::kControl);
  EXPECT_TRUE(send(settings() + make_frame(FrameType::kPing, 0, 0, std::string(8, 'a'))));
  EXPECT_EQ(filter_.take_waste(), waste::kSettings + waste::kPing);
  EXPECT_FALSE(send(headers(2)));
  EXPECT_EQ(filter_.take_waste(), waste::kFault);
}

// So that little is done before it is looked at.
TEST_F(Filter, MuchWasteIsTakenInParts) {
  greet();
  filter_.take_waste();
  std::string flood;
  for (int i = 0; i < 100; ++i) flood += settings();
  EXPECT_TRUE(send(flood));
  EXPECT_EQ(filter_.take_waste(), waste::kAtOnce);
  EXPECT_EQ(frames(to_server()).size(), waste::kAtOnce);
  size_t more = 0;
  while (filter_.has_more()) {
    EXPECT_TRUE(send(""));
    EXPECT_LE(filter_.take_waste(), waste::kAtOnce);
    more += frames(to_server()).size();
  }
  EXPECT_EQ(more, 100 - waste::kAtOnce);
}

// A frame of the library that is under way, or a header block of it, is not interrupted.
TEST_F(Filter, TellsTheClientBetweenTheLibrarysFrames) {
  greet();
  EXPECT_TRUE(send(headers(1) + data(1, message(3, "abc"), kEndStream)));
  const std::string begin = make_frame(FrameType::kHeaders, 0, 1, "\x88");
  const std::string end = make_frame(FrameType::kContinuation, kEndHeaders, 1, "") + data(1, "0123456789");
  const std::string answer = begin + end;
  for (size_t cut = 0; cut < answer.size(); ++cut) {
    Http2Filter filter(options_);
    EXPECT_TRUE(filter.take_from_client(greeting() + headers(1)));
    filter.take_from_server(settings());
    filter.to_client().clear();
    filter.take_from_server(answer.substr(0, cut));
    EXPECT_TRUE(filter.take_from_client(headers(3, {{"grpc-encoding", "gzip"}})));
    filter.take_from_server(answer.substr(cut));
    const auto told = frames(filter.to_client());
    ASSERT_EQ(told.size(), 5) << cut;  // the library's three, and an answer with its reset
    size_t at = 0;
    while (told[at].head.stream != 3) ++at;
    EXPECT_NE(at, 1) << cut;  // inside of the header block
    EXPECT_EQ(told[at + 1].head.type, FrameType::kRstStream);
  }
}

// Wherever the network cuts them.
TEST_F(Filter, BytesMeanTheSameHoweverTheyCome) {
  std::string all = greeting();
  for (uint32_t stream = 1; stream < 12; stream += 2) {
    all += headers(stream, {{"n", std::to_string(stream)}}, 0) +
           make_frame(FrameType::kContinuation, kEndHeaders, stream, "");
    all += data(stream, message(stream == 5 ? 2000 : 20, std::string(20, 'a')), kEndStream);
    all += make_rst_stream(stream, Http2Error::kCancel);
  }
  Http2Filter whole(options_);
  whole.take_from_server(settings());
  EXPECT_TRUE(whole.take_from_client(all));
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    Http2Filter pieces(options_);
    pieces.take_from_server(settings());
    for (size_t at = 0; at < all.size();) {
      const size_t size = 1 + random() % 60;
      ASSERT_TRUE(pieces.take_from_client(std::string_view(all).substr(at, size)));
      at += size;
    }
    EXPECT_EQ(pieces.to_server(), whole.to_server());
    EXPECT_EQ(pieces.to_client(), whole.to_client());
  }
}

TEST_F(Filter, BrokenConnectionsEndWithAReason) {
  const std::string wrong[] = {
      headers(2),
      headers(1) + headers(1),
      data(1, "a"),
      headers(1) + data(1, "a", kPadded),
      headers(1) + data(1, "", kEndStream) + data(1, "a"),
      make_frame(FrameType::kPushPromise, 0, 1, ""),
      headers(1, {}, 0) + settings(),
      make_frame(FrameType::kContinuation, kEndHeaders, 1, ""),
      make_frame(FrameType::kHeaders, kEndHeaders, 1, "\xff\xff\xff\xff\xff\xff\xff"),
      make_frame(FrameType::kHeaders, kEndHeaders | kPadded, 1, "\x09"),
      std::string("\x00\x40\x01\x00\x00\x00\x00\x00\x01", 9),
  };
  for (const std::string& bytes : wrong) {
    Http2Filter filter(options_);
    EXPECT_TRUE(filter.take_from_client(greeting()));
    filter.take_from_server(settings());
    filter.to_client().clear();
    EXPECT_FALSE(filter.take_from_client(bytes));
    const auto told = frames(filter.to_client());
    ASSERT_FALSE(told.empty());
    EXPECT_EQ(told.back().head.type, FrameType::kGoaway);
  }
}

}  // namespace
}  // namespace octet
