// gemm and grouped_gemm of the CUDA backend against the reference backend.
//
// Tolerance: operands of a product are rounded to 16 bits here and not there, so with elements in [-1, 1) an element of
// the result is off by at most sqrt(inputs) · 2^-9 (bf16) in the mean; three times that is allowed, relative to the
// largest element. Where x is given in values that 16 bits hold, only the order of sums differs: 1e-5. cuBLAS's grouped
// product rounds results to 16 bits as well: three times half a unit, for silu(a) · b has two of them.
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/softgpu_counts.h"

namespace octet {
namespace {

struct TestWeight {
  std::vector<Tensor> matrices;
  WeightSpec spec;
};

TestWeight random_weight(RandomValues& random, int64_t num_outputs, int64_t num_inputs, DType dtype, bool gated) {
  TestWeight weight;
  for (int part = 0; part < (gated ? 2 : 1); ++part)
    weight.matrices.push_back(random.tensor(dtype, {num_outputs, num_inputs}));
  for (const Tensor& matrix : weight.matrices) weight.spec.parts.push_back(matrix_source(matrix));
  weight.spec.gated = gated;
  weight.spec.format = dtype;
  weight.spec.partial_bounds = {0, num_inputs};
  return weight;
}

// x in values that `dtype` holds exactly.
Tensor rounded_rows(RandomValues& random, Shape shape, DType dtype) {
  const Tensor narrow = random.tensor(dtype, shape);
  Tensor wide = Tensor::host(DType::kF32, shape);
  read_as_f32(static_cast<const std::byte*>(narrow.view.data), dtype, shape.num_elements(), wide.view.as<float>());
  return wide;
}

constexpr DType kDTypes[] = {DType::kBF16, DType::kF16};
constexpr double kExactOperands = 1e-5;
constexpr double rounded_results(DType dtype) { return 3 * (dtype == DType::kBF16 ? 0x1p-9 : 0x1p-12); }

unsigned long long blas_groups() { return softgpu_executed("grouped-gemm"); }

// How check_grouped asks for a product.
struct Grouped {
  DType dtype = DType::kBF16;
  bool gated = false;
  bool gathered = false;
  bool host_knows = false;  // how many rows each expert has
  double tolerance = kExactOperands;
};
// Of every type, gated or not, gathered or not.
std::vector<Grouped> all_ways() {
  std::vector<Grouped> ways;
  for (const DType dtype : kDTypes) {
    for (const bool gated : {false, true}) {
      for (const bool gathered : {false, true}) ways.push_back({dtype, gated, gathered});
    }
  }
  return ways;
}

class CudaProductsTest : public CudaTest {
 protected:
  void check_gemm(const WeightSpec& spec, const Tensor& x, double tolerance) {
    SCOPED_TRACE(testing::Message() << x.view.rows() << " rows, " << spec.num_outputs() << " outputs, "
                                    << spec.num_inputs() << " inputs, " << dtype_name(spec.format.dtype())
                                    << (spec.gated ? " gated" : ""));
    const Weight weight = backend_->prepare(spec);
    const Tensor y = device_zeros(DType::kF32, {x.view.rows(), spec.num_outputs()});
    backend_->gemm(device(x).view, weight, y.view, *stream_);
    const Tensor expected = Tensor::host(DType::kF32, y.view.shape);
    reference_.gemm(x.view, reference_.prepare(spec), expected.view, host_stream_);
    expect_near(host(y).view, expected.view, tolerance);
  }

  // Experts with `counts` assignments, gathered from x or not.
  void check_grouped(const std::vector<int64_t>& counts, Shape expert, const Grouped& way) {
    const auto [dtype, gated, gathered, host_knows, tolerance] = way;
    SCOPED_TRACE(testing::Message() << testing::PrintToString(counts) << " " << expert.to_string() << " "
                                    << dtype_name(dtype) << (gated ? " gated" : "") << (gathered ? " gathered" : "")
                                    << (host_knows ? " counted" : ""));
    RandomValues random(static_cast<uint32_t>(counts.size() + counts.back()));
    std::vector<Weight> weights;
    std::vector<Weight> expected_weights;
    std::vector<int32_t> offsets = {0};
    for (const int64_t count : counts) {
      const TestWeight made = random_weight(random, expert[0], expert[1], dtype, gated);
      weights.push_back(backend_->prepare(made.spec));
      expected_weights.push_back(reference_.prepare(made.spec));
      offsets.push_back(offsets.back() + static_cast<int32_t>(count));
    }
    const int64_t total = offsets.back();
    const Tensor x = rounded_rows(random, {total + 3, expert[1]}, dtype);
    std::vector<int32_t> rows(static_cast<size_t>(total));
    for (int32_t& row : rows) row = random.below(total + 3);
    const Tensor row_tensor = int_tensor(rows, {total});
    const Tensor offset_tensor = int_tensor(offsets, {static_cast<int64_t>(offsets.size())});
    const Tensor expected = Tensor::host(DType::kF32, {total + 2, expert[0]});
    std::fill_n(expected.view.as<float>(), expected.view.num_elements(), 7.0F);
    const Tensor y = device(expected);
    ExpertGroups groups{offset_tensor.view, gathered ? row_tensor.view : TensorView{}, {}};
    reference_.grouped_gemm(x.view, groups, reference_.group(std::move(expected_weights)), expected.view, host_stream_);
    const WeightGroup experts = backend_->group(std::move(weights));
    const Tensor device_x = device(x);
    const Tensor device_rows = device(row_tensor);
    const Tensor device_offsets = device(offset_tensor);
    groups = {device_offsets.view, gathered ? device_rows.view : TensorView{}, {}};
    if (host_knows) groups.host_offsets = offsets;
    const auto run = [&] {
      backend_->grouped_gemm(device_x.view, groups, experts, y.view, *stream_);
      return host(y);
    };
    const Tensor first = run();
    expect_near(first.view, expected.view, tolerance);
    expect_same_bits(run().view, first.view);
    const TensorView behind = first.view.slice_rows(total, 2);
    for (int64_t i = 0; i < behind.num_elements(); ++i) ASSERT_EQ(behind.as<float>()[i], 7.0F);
  }
};

TEST_F(CudaProductsTest, DenseOverRemainders) {
  RandomValues random(1);
  for (const DType dtype : kDTypes) {
    for (const int64_t outputs : {1, 8, 63, 65, 130}) {
      for (const int64_t inputs : {1, 3, 32, 100, 257}) {
        const TestWeight weight = random_weight(random, outputs, inputs, dtype, false);
        for (const int64_t rows : {0, 1, 2, 9, 33})
          check_gemm(weight.spec, rounded_rows(random, {rows, inputs}, dtype), kExactOperands);
      }
    }
  }
}

TEST_F(CudaProductsTest, GatedOverRemainders) {
  RandomValues random(2);
  for (const DType dtype : kDTypes) {
    for (const int64_t outputs : {1, 7, 8, 65}) {
      for (const int64_t inputs : {1, 3, 100}) {
        const TestWeight weight = random_weight(random, outputs, inputs, dtype, true);
        for (const int64_t rows : {0, 1, 8, 9, 130})
          check_gemm(weight.spec, rounded_rows(random, {rows, inputs}, dtype), kExactOperands);
      }
    }
  }
}

TEST_F(CudaProductsTest, RowsAreRoundedToTheWeightsType) {
  RandomValues random(3);
  for (const auto& [dtype, unit] : {std::pair{DType::kBF16, 0x1p-9}, {DType::kF16, 0x1p-12}}) {
    const TestWeight weight = random_weight(random, 100, 300, dtype, false);
    check_gemm(weight.spec, random.tensor({20, 300}), 3 * unit);
  }
}

// The router's choice must not hang on 16 bits.
TEST_F(CudaProductsTest, FewOutputsAreComputedInFp32) {
  RandomValues random(4);
  for (const DType dtype : kDTypes) {
    const TestWeight weight = random_weight(random, 8, 1000, dtype, false);
    check_gemm(weight.spec, random.tensor({5, 1000}), 2e-6);
  }
}

TEST_F(CudaProductsTest, PartsAreStackedConvertedAndReordered) {
  RandomValues random(5);
  const Tensor f32 = random.tensor({20, 150});
  const Tensor f16 = random.tensor(DType::kF16, {50, 300});
  const std::vector<int32_t> order = {7, 3, 49, 0, 12, 12, 30};
  MatrixSource reordered = matrix_source(f16).slice_columns(17, 150);
  reordered.row_order = order;
  reordered.num_rows = 7;
  const WeightSpec spec{{matrix_source(f32), reordered, matrix_source(f16).slice_columns(1, 150).slice_rows(5, 40)},
                        false,
                        DType::kBF16,
                        {0, 150}};
  check_gemm(spec, rounded_rows(random, {6, 150}, DType::kBF16), kExactOperands);
}

TEST_F(CudaProductsTest, GroupedWithFewRows) {
  for (Grouped way : all_ways()) {
    for (const bool host_knows : {false, true}) {
      way.host_knows = host_knows;
      check_grouped({0, 0}, {9, 40}, way);
      check_grouped({0, 1, 0, 3}, {16, 33}, way);
      check_grouped({19, 0, 1, 0, 0, 2, 0, 0}, {23, 290}, way);
    }
    check_grouped({1}, {37, 100}, way);
  }
}

TEST_F(CudaProductsTest, GroupedWithManyRows) {
  for (const Grouped& way : all_ways()) {
    check_grouped({20, 0, 1}, {37, 100}, way);
    check_grouped({0, 129, 15}, {130, 40}, way);
  }
}

TEST_F(CudaProductsTest, SeventyExperts) {
  std::vector<int64_t> counts(70);
  for (size_t e = 0; e < counts.size(); ++e) counts[e] = static_cast<int64_t>(e % 3);
  check_grouped(counts, {9, 20}, {.gated = true, .gathered = true});
  for (int64_t& count : counts) count += 9;
  check_grouped(counts, {9, 20}, {.dtype = DType::kF16, .gathered = true});
  check_grouped(counts, {9, 20}, {.gated = true, .gathered = true, .host_knows = true});
}

// With few rows and with many: the kernels that stream weights, and those with tiles.
TEST_F(CudaProductsTest, ACapturedProductReadsTheExpertThatIsThereNow) {
  for (const int64_t rows : {2, 40}) {
    SCOPED_TRACE(rows);
    RandomValues random(static_cast<uint32_t>(rows));
    std::vector<TestWeight> made;
    for (int e = 0; e < 4; ++e) made.push_back(random_weight(random, 37, 100, DType::kBF16, true));
    std::vector<Weight> three;
    for (size_t e = 0; e < 3; ++e) three.push_back(backend_->prepare(made[e].spec));
    WeightGroup experts = backend_->group(std::move(three));
    const Tensor x = rounded_rows(random, {3 * rows, 100}, DType::kBF16);
    const auto count = static_cast<int32_t>(rows);
    const Tensor offsets = int_tensor({0, count, 2 * count, 3 * count}, {4});
    const Tensor device_x = device(x), device_offsets = device(offsets);
    const Tensor y = device_zeros(DType::kF32, {3 * rows, 37});
    const auto enqueue = [&] {
      backend_->grouped_gemm(device_x.view, {device_offsets.view, {}, {}}, experts, y.view, *stream_);
    };
    enqueue();  // allocates
    const auto captured = backend_->capture(*stream_, enqueue);
    const Weight old = backend_->replace(experts, 1, backend_->prepare(made[3].spec), *stream_);
    captured->replay(*stream_);
    std::vector<Weight> expected_weights;
    for (const size_t e : {0, 3, 2}) expected_weights.push_back(reference_.prepare(made[e].spec));
    const Tensor expected = Tensor::host(DType::kF32, y.view.shape);
    reference_.grouped_gemm(x.view, {offsets.view, {}, {}}, reference_.group(std::move(expected_weights)),
                            expected.view, host_stream_);
    expect_near(host(y).view, expected.view, kExactOperands);
  }
}

// 128 rows in the mean, of the experts that have any.
TEST_F(CudaProductsTest, CublasTakesManyRowsThatTheHostCanCount) {
  const auto none = blas_groups();
  for (Grouped way : all_ways()) {
    way.host_knows = true;
    check_grouped({130, 0, 124}, {37, 100}, way);  // 127
    EXPECT_EQ(blas_groups(), none);
    way.host_knows = false;
    check_grouped({0, 256, 0}, {37, 100}, way);
    EXPECT_EQ(blas_groups(), none);
  }
  for (Grouped way : all_ways()) {
    way.host_knows = true;
    way.tolerance = rounded_results(way.dtype);
    const auto before = blas_groups();
    check_grouped({0, 255, 0, 1}, {37, 100}, way);
    check_grouped({131, 0, 126, 140}, {8, 33}, way);
    check_grouped({128}, {65, 3}, way);
    EXPECT_EQ(blas_groups(), before + 6) << "three products, each twice";
  }
}

}  // namespace
}  // namespace octet
