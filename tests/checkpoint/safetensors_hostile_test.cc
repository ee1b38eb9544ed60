// Damaged and malicious weight files: each ends with one line that names the file and the reason, and kInvalidInput.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "runtime/checkpoint/check_weights.h"
#include "tests/checkpoint/checkpoint_builder.h"
#include "tests/checkpoint/hostile_fixture.h"

namespace octet {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class HostileHeader : public HostileCheckpoint {
 protected:
  // Writes a valid checkpoint whose weight file is then replaced.
  void write_with_weights(std::string_view weights) {
    make_checkpoint().write(folder_.path());
    write_file(folder_ / kWeights, weights);
  }

  // A weight file of this header and `num_data_bytes` zeros.
  static std::string safetensors(std::string_view header, size_t num_data_bytes) {
    const uint64_t length = header.size();
    std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
    return bytes.append(header).append(num_data_bytes, '\0');
  }

  void expect_header_refused(std::string_view header, size_t num_data_bytes, const std::string& reason) {
    write_with_weights(safetensors(header, num_data_bytes));
    expect_refused(kWeights, reason);
  }
};

// The file's frame.

TEST_F(HostileHeader, EmptyFile) {
  write_with_weights("");
  expect_refused(kWeights, "too short");
}

TEST_F(HostileHeader, ShorterThanEightBytes) {
  write_with_weights("\x10\0\0\0\0\0\0");
  expect_refused(kWeights, "too short");
}

TEST_F(HostileHeader, HeaderLengthTwoToThe63) {
  write_with_weights(std::string("\0\0\0\0\0\0\0\x80{}", 10));
  expect_refused(kWeights, "header length 9223372036854775808");
}

TEST_F(HostileHeader, HeaderLengthAllOnes) {
  write_with_weights(std::string(8, '\xff') + "{}");
  expect_refused(kWeights, "over the limit");
}

TEST_F(HostileHeader, HeaderOver100Megabytes) {
  const uint64_t length = 100'000'001;
  write_with_weights(std::string(reinterpret_cast<const char*>(&length), 8));
  std::filesystem::resize_file(folder_ / kWeights, 100'000'100);  // sparse: the header would fit
  expect_refused(kWeights, "over the limit of 100000000");
}

TEST_F(HostileHeader, HeaderLongerThanTheFile) {
  std::string bytes = safetensors("{}", 0);
  bytes[0] = 3;
  write_with_weights(bytes);
  expect_refused(kWeights, "header length 3 is more than the 2 bytes");
}

TEST_F(HostileHeader, HeaderLengthZero) { expect_header_refused("", 0, "not valid JSON"); }

// The header's text.

TEST_F(HostileHeader, HeaderNotUtf8) {
  expect_header_refused("{\"\xff\xfe\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "UTF-8");
}

TEST_F(HostileHeader, HeaderNotJson) { expect_header_refused("{\"a\":", 0, "not valid JSON"); }

TEST_F(HostileHeader, HeaderRandomBytes) {
  std::mt19937 generator(3);
  std::string noise;
  for (int i = 0; i < 500; ++i) noise += static_cast<char>(generator() & 0xffU);
  expect_header_refused(noise, 0, "not valid JSON");
}

TEST_F(HostileHeader, HeaderWithTextBehindItsEnd) { expect_header_refused("{} {}", 0, "not valid JSON"); }

TEST_F(HostileHeader, HeaderWithNulBehindItsEnd) { expect_header_refused(std::string_view("{}\0\0", 4), 0, "NUL"); }

TEST_F(HostileHeader, HeaderNotAnObject) {
  expect_header_refused("[]", 0, "not a JSON object");
  expect_header_refused("7", 0, "not a JSON object");
}

TEST_F(HostileHeader, HeaderDeeplyNested) { expect_header_refused(std::string(1'000'000, '['), 0, "an array"); }

TEST_F(HostileHeader, TensorDeeplyNested) {
  expect_header_refused("{\"a\":{\"shape\":" + std::string(1'000'000, '['), 0, "unexpected an array in shape");
}

TEST_F(HostileHeader, MetadataNotStrings) {
  expect_header_refused(R"({"__metadata__":{"format":7}})", 0, "__metadata__: 'format' is a number");
}

TEST_F(HostileHeader, DuplicateTensorName) {
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                        R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                        8, "tensor 'a' is listed twice");
}

TEST_F(HostileHeader, NameThatWouldBreakTheLine) {
  expect_header_refused(R"({"a\nb\u001b[31m":{"dtype":"F99"}})", 0, R"(tensor 'a\x0ab\x1b[31m' has dtype 'F99')");
}

TEST_F(HostileHeader, HugeNameIsCutShort) {
  expect_header_refused("{\"" + std::string(1'000'000, 'x') + "\":7}", 0, "xxx...': a number instead of an object");
}

// The header's tensors.

struct BadTensor {
  const char* what;
  const char* entry;  // of tensor "a", in front of 16 bytes of data
  const char* reason;
};

class HostileTensor : public HostileHeader, public testing::WithParamInterface<BadTensor> {};

TEST_P(HostileTensor, IsRefused) {
  expect_header_refused(std::string("{\"a\":{") + GetParam().entry + "}}", 16, GetParam().reason);
}

INSTANTIATE_TEST_SUITE_P(
    Tensors, HostileTensor,
    testing::Values(
        BadTensor{"DtypeUnknown", R"("dtype":"F8","shape":[16],"data_offsets":[0,16])", "dtype 'F8'"},
        BadTensor{"DtypeOfIndexes", R"("dtype":"I64","shape":[2],"data_offsets":[0,16])", "dtype 'I64'"},
        BadTensor{"DtypeMissing", R"("shape":[4],"data_offsets":[0,16])", "dtype is missing"},
        BadTensor{"DtypeNumber", R"("dtype":4,"shape":[4],"data_offsets":[0,16])", "unexpected a number in dtype"},
        BadTensor{"DtypeTwice", R"("dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16])", "given twice"},
        BadTensor{"ShapeMissing", R"("dtype":"F32","data_offsets":[0,16])", "shape is missing"},
        BadTensor{"ShapeNegative", R"("dtype":"F32","shape":[-4],"data_offsets":[0,16])", "negative"},
        BadTensor{"ShapeFraction", R"("dtype":"F32","shape":[4.5],"data_offsets":[0,16])", "no integer"},
        BadTensor{"ShapeOver64Bits", R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16])",
                  "no integer"},
        BadTensor{"ShapeOver63Bits", R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16])",
                  "over 2^63"},
        BadTensor{"ShapeOverflow", R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16])",
                  "overflows"},
        // 2^62 elements of 4 bytes: 2^64, which wraps to 0.
        BadTensor{"BytesOverflow", R"("dtype":"F32","shape":[2147483648,2147483648],"data_offsets":[0,0])",
                  "overflows"},
        BadTensor{"ShapeOfNineExtents", R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,4],"data_offsets":[0,16])",
                  "more than 8"},
        BadTensor{"OffsetsMissing", R"("dtype":"F32","shape":[4])", "data_offsets is missing"},
        BadTensor{"OneOffset", R"("dtype":"F32","shape":[4],"data_offsets":[16])", "must be two numbers"},
        BadTensor{"ThreeOffsets", R"("dtype":"F32","shape":[4],"data_offsets":[0,16,16])", "more than 2"},
        BadTensor{"EndBeforeBegin", R"("dtype":"F32","shape":[4],"data_offsets":[16,0])", "lies before begin"},
        BadTensor{"EndBehindTheFile", R"("dtype":"F32","shape":[5],"data_offsets":[0,20])",
                  "ends at byte 20 of the data, of which the file has 16"},
        BadTensor{"EndAt2To63", R"("dtype":"F32","shape":[4],"data_offsets":[9223372036854775791,9223372036854775807])",
                  "of which the file has 16"},
        BadTensor{"SizeNotTheShapes", R"("dtype":"F32","shape":[3],"data_offsets":[0,16])", "takes 12 bytes"},
        BadTensor{"TrailingBytes", R"("dtype":"F32","shape":[3],"data_offsets":[0,12])", "4 trailing bytes"},
        BadTensor{"HoleAtTheStart", R"("dtype":"F32","shape":[3],"data_offsets":[4,16])", "hole of 4 bytes"},
        BadTensor{"UnknownKey", R"("dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1)", "unknown key 'x'"}),
    [](const auto& tensor) { return tensor.param.what; });

TEST_F(HostileHeader, OverlappingTensors) {
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                        R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                        12, "tensor 'b' overlaps");
}

TEST_F(HostileHeader, HoleBetweenTensors) {
  expect_header_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                        R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
                        12, "hole of 4 bytes in the data before tensor 'b'");
}

TEST_F(HostileHeader, NoTensorsButData) { expect_header_refused("{}", 5, "5 trailing bytes"); }

TEST_F(HostileHeader, EveryTruncationIsRefused) {
  make_checkpoint().write(folder_.path());
  const std::string whole = read_file(folder_ / kWeights);
  std::mt19937 generator(11);
  for (int i = 0; i < 40; ++i) {
    const size_t length = i < 12 ? static_cast<size_t>(i) : generator() % whole.size();
    write_file(folder_ / kWeights, std::string_view(whole).substr(0, length));
    expect_refused(kWeights, "");
  }
}

// A flipped bit anywhere in the header either is refused on one line or leaves a checkpoint whose weights can be read.
TEST_F(HostileHeader, FlippedBitsAreHarmless) {
  make_checkpoint().write(folder_.path());
  const std::string whole = read_file(folder_ / kWeights);
  uint64_t header_length = 0;
  std::memcpy(&header_length, whole.data(), sizeof(header_length));
  std::mt19937 generator(12);
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    damaged[generator() % (8 + header_length)] ^= static_cast<char>(1U << (generator() % 8));
    write_file(folder_ / kWeights, damaged);
    const auto checkpoint = Checkpoint::open(folder_.path());
    const Status status = checkpoint.ok() ? check_finite(*checkpoint) : checkpoint.status();
    if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
      EXPECT_THAT(status.message(), AllOf(HasSubstr(kWeights), Not(HasSubstr("\n"))));
    }
  }
}

}  // namespace
}  // namespace octet
