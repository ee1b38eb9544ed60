#include "runtime/base/status.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(Status, SaysNothingWhileAllIsWell) {
  const Status status;
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kOk);
  EXPECT_EQ(status.message(), "");
  EXPECT_EQ(status.field(), "");
  EXPECT_EQ(status.description(), "");
  EXPECT_EQ(status.exit_code(), 0);
  EXPECT_TRUE(Status(StatusCode::kOk, "").ok());
}

// It is returned from nearly every function.
TEST(Status, IsNoLargerThanTwoPointers) { EXPECT_LE(sizeof(Status), 2 * sizeof(void*)); }

TEST(Status, NamesTheFieldThatIsWrong) {
  const Status status = invalid_field("top_p", "{} is not in (0, {}]", 1.5, 1);
  EXPECT_EQ(status.code(), StatusCode::kInvalidInput);
  EXPECT_EQ(status.message(), "top_p 1.5 is not in (0, 1]");
  EXPECT_EQ(status.field(), "top_p");
  EXPECT_EQ(status.description(), "1.5 is not in (0, 1]");
}

TEST(Status, OfNoFieldIsDescribedByItsMessage) {
  const Status status = invalid_input("top_p {} is wrong", 2);
  EXPECT_EQ(status.field(), "");
  EXPECT_EQ(status.message(), "top_p 2 is wrong");
  EXPECT_EQ(status.description(), status.message());
}

Status pass_on(const Status& status) {
  OCTET_RETURN_IF_ERROR(status);
  return ok_status();
}

Result<int> value_or(Status status) {
  if (!status.ok()) return status;
  return 1;
}

TEST(Status, KeepsItsFieldOnItsWay) {
  const Status status = invalid_field("seed", "is not set");
  EXPECT_EQ(pass_on(status).field(), "seed");
  EXPECT_EQ(value_or(status).status().field(), "seed");
  EXPECT_EQ(*value_or({}), 1);
  Status copy = status;
  copy = failed("later");
  EXPECT_EQ(copy.field(), "");
  EXPECT_EQ(copy.exit_code(), 1);
  EXPECT_EQ(status.message(), "seed is not set");
}

}  // namespace
}  // namespace octet
