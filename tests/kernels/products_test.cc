// gemm and grouped_gemm of the cpu backend: values against the reference backend, bits against themselves.
#include "tests/kernels/kernels_fixture.h"

namespace octet {
namespace {

// Matrices and the weight made of them; the matrices outlive the weight's making.
struct TestWeight {
  std::vector<Tensor> matrices;
  WeightSpec spec;
};

TestWeight plain_weight(RandomValues& random, std::vector<int64_t> part_rows, int64_t num_inputs, DType source,
                        DType dtype, std::vector<int64_t> bounds) {
  TestWeight weight;
  for (const int64_t rows : part_rows) weight.matrices.push_back(random.tensor(source, {rows, num_inputs}));
  for (const Tensor& matrix : weight.matrices) weight.spec.parts.push_back(matrix_source(matrix));
  weight.spec.format = dtype;
  weight.spec.partial_bounds = std::move(bounds);
  return weight;
}

TestWeight gated_weight(RandomValues& random, int64_t num_outputs, int64_t num_inputs, DType dtype) {
  TestWeight weight = plain_weight(random, {num_outputs, num_outputs}, num_inputs, dtype, dtype, {0, num_inputs});
  weight.spec.gated = true;
  return weight;
}

Tensor apply(Backend& backend, const Weight& weight, TensorView x) {
  HostStream stream;
  Tensor y = Tensor::host(DType::kF32, {x.rows(), weight.num_outputs});
  backend.gemm(x, weight, y.view, stream);
  return y;
}

constexpr DType kDTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
constexpr int64_t kRowCounts[] = {0, 1, 2, 3, 5, 6, 7, 13, 14, 15, 29, 64};

class ProductsTest : public CpuBackendTest {
 protected:
  // Compares all row counts with the reference.
  void check(const WeightSpec& spec, RandomValues& random) {
    const Weight weight = backend_->prepare(spec);
    const Weight expected_weight = reference_.prepare(spec);
    for (const int64_t rows : kRowCounts) {
      SCOPED_TRACE(testing::Message() << rows << " rows, " << spec.num_outputs() << " outputs, " << spec.num_inputs()
                                      << " inputs, " << dtype_name(spec.format.dtype()));
      const Tensor x = random.tensor({rows, spec.num_inputs()});
      expect_near(apply(*backend_, weight, x.view).view, apply(reference_, expected_weight, x.view).view, 2e-6);
    }
  }
};

TEST_P(ProductsTest, PlainOverRemainders) {
  RandomValues random(1);
  for (const DType dtype : kDTypes) {
    for (const int64_t outputs : {1, 15, 16, 17, 31, 32, 33, 100}) {
      for (const int64_t inputs : {1, 2, 3, 16, 100, 700}) {
        check(plain_weight(random, {outputs}, inputs, dtype, dtype, {0, inputs}).spec, random);
      }
    }
  }
}

TEST_P(ProductsTest, GatedOverRemainders) {
  RandomValues random(2);
  for (const DType dtype : kDTypes) {
    for (const int64_t outputs : {1, 15, 16, 17, 33, 100}) {
      for (const int64_t inputs : {1, 3, 100}) check(gated_weight(random, outputs, inputs, dtype).spec, random);
    }
  }
}

TEST_P(ProductsTest, PartialSumsOfAnyPieces) {
  RandomValues random(3);
  const std::vector<std::vector<int64_t>> all_bounds = {
      {0, 50, 100},         {0, 0, 100},      {0, 100, 100}, {0, 33, 66, 100}, {0, 12, 25, 37, 50, 62, 75, 87, 100},
      {0, 1, 1, 1, 2, 100}, {0, 0, 0, 0, 100}};
  for (const auto& bounds : all_bounds) {
    for (const DType dtype : kDTypes) check(plain_weight(random, {40}, 100, dtype, dtype, bounds).spec, random);
  }
}

TEST_P(ProductsTest, PartsAreStackedAndSourcesConverted) {
  RandomValues random(4);
  for (const DType source : kDTypes) {
    for (const DType dtype : kDTypes) {
      check(plain_weight(random, {20, 1, 30}, 150, source, dtype, {0, 150}).spec, random);
    }
  }
}

TEST_P(ProductsTest, SlicedAndReorderedSources) {
  RandomValues random(5);
  const Tensor matrix = random.tensor(DType::kBF16, {50, 300});
  const std::vector<int32_t> order = {7, 3, 49, 0, 12, 12, 30};
  MatrixSource reordered = matrix_source(matrix).slice_columns(17, 130);
  reordered.row_order = order;
  reordered.num_rows = 7;
  const MatrixSource rows = matrix_source(matrix).slice_columns(17, 130).slice_rows(5, 40);
  check({{reordered, rows}, false, DType::kBF16, {0, 130}}, random);
}

TEST_P(ProductsTest, BitsDependNeitherOnRowsNorOnThreadsNorOnTheInstructionSet) {
  RandomValues random(6);
  for (const DType dtype : kDTypes) {
    const TestWeight made = plain_weight(random, {100}, 800, dtype, dtype, {0, 100, 200, 300, 400, 500, 600, 700, 800});
    const Tensor x = random.tensor({600, 800});
    const auto alone = cpu_backend(isas().front(), 1);
    const Weight alone_weight = alone->prepare(made.spec);
    const Weight weight = backend_->prepare(made.spec);
    const Tensor together = apply(*backend_, weight, x.view);
    for (const int64_t row : {0, 1, 13, 14, 299, 599}) {
      SCOPED_TRACE(testing::Message() << "row " << row << " " << dtype_name(dtype));
      expect_same_bits(together.view.slice_rows(row, 1), apply(*alone, alone_weight, x.view.slice_rows(row, 1)).view);
    }
    for (const int64_t rows : kRowCounts) {
      SCOPED_TRACE(testing::Message() << rows << " rows " << dtype_name(dtype));
      expect_same_bits(apply(*backend_, weight, x.view.slice_rows(3, rows)).view, together.view.slice_rows(3, rows));
    }
  }
}

TEST_P(ProductsTest, GatedBitsDependNeitherOnRowsNorOnThreadsNorOnTheInstructionSet) {
  RandomValues random(7);
  const TestWeight made = gated_weight(random, 50, 300, DType::kBF16);
  const Tensor x = random.tensor({40, 300});
  const auto alone = cpu_backend(isas().front(), 1);
  const Weight alone_weight = alone->prepare(made.spec);
  const Tensor together = apply(*backend_, backend_->prepare(made.spec), x.view);
  for (int64_t row = 0; row < 40; ++row) {
    expect_same_bits(together.view.slice_rows(row, 1), apply(*alone, alone_weight, x.view.slice_rows(row, 1)).view);
  }
}

TEST_P(ProductsTest, AColumnsBitsDoNotDependOnItsPlace) {
  RandomValues random(8);
  const Tensor matrix = random.tensor(DType::kBF16, {70, 90});
  const Tensor x = random.tensor({4, 90});
  const auto product = [&](int64_t first, int64_t count) {
    const WeightSpec spec{{matrix_source(matrix).slice_rows(first, count)}, false, DType::kBF16, {0, 90}};
    return apply(*backend_, backend_->prepare(spec), x.view);
  };
  const Tensor whole = product(0, 70);
  for (const int64_t column : {0, 15, 16, 31, 32, 63, 69}) {
    const Tensor single = product(column, 1);
    for (int64_t r = 0; r < 4; ++r) {
      EXPECT_EQ(single.view.as<float>()[r], whole.view.as<float>()[r * 70 + column]) << column;
    }
  }
}

TEST_P(ProductsTest, PiecesOnTwoRanksAddUpToTheWholeTree) {
  RandomValues random(9);
  const Tensor matrix = random.tensor(DType::kBF16, {33, 400});
  const Tensor x = random.tensor({5, 400});
  const MatrixSource source = matrix_source(matrix);
  const Tensor whole =
      apply(*backend_, backend_->prepare({{source}, false, DType::kBF16, {0, 100, 200, 300, 400}}), x.view);
  const auto half = [&](int64_t begin) {
    const WeightSpec spec{{source.slice_columns(begin, 200)}, false, DType::kBF16, {0, 100, 200}};
    Tensor columns = Tensor::host(DType::kF32, {5, 200});
    for (int64_t r = 0; r < 5; ++r) {
      std::copy_n(x.view.as<float>() + r * 400 + begin, 200, columns.view.as<float>() + r * 200);
    }
    return apply(*backend_, backend_->prepare(spec), columns.view);
  };
  const Tensor sum = half(0);
  backend_->add(sum.view, half(200).view, stream_);
  expect_same_bits(sum.view, whole.view);
}

// grouped_gemm of `counts` rows an expert against gemm of each expert's rows.
void check_grouped(Backend& backend, const std::vector<int64_t>& counts, bool gated, bool gathered, uint32_t seed) {
  RandomValues random(seed);
  HostStream stream;
  constexpr int64_t kInputs = 120;
  std::vector<Weight> weights;
  std::vector<int32_t> offsets = {0};
  for (const int64_t count : counts) {
    const TestWeight made = gated ? gated_weight(random, 37, kInputs, DType::kBF16)
                                  : plain_weight(random, {37}, kInputs, DType::kF16, DType::kF16, {0, 40, 80, 120});
    weights.push_back(backend.prepare(made.spec));
    offsets.push_back(offsets.back() + static_cast<int32_t>(count));
  }
  const int64_t total = offsets.back();
  const Tensor x = random.tensor({total + 3, kInputs});
  std::vector<int32_t> rows;
  for (int64_t a = 0; a < total; ++a) rows.push_back(gathered ? random.below(total + 3) : static_cast<int32_t>(a));
  const Tensor assignment_row = int_tensor(rows, {total});
  const Tensor offset_tensor = int_tensor(offsets, {static_cast<int64_t>(offsets.size())});
  const Tensor y = Tensor::host(DType::kF32, {total + 2, 37});
  std::fill_n(y.view.as<float>(), y.view.num_elements(), 7.0F);
  const ExpertGroups groups{offset_tensor.view, gathered ? assignment_row.view : TensorView{}, {}};
  const WeightGroup experts = backend.group(std::move(weights));
  backend.grouped_gemm(x.view, groups, experts, y.view, stream);
  for (size_t e = 0; e < counts.size(); ++e) {
    const Tensor part = Tensor::host(DType::kF32, {counts[e], kInputs});
    backend.gather_rows(x.view, assignment_row.view.slice_rows(offsets[e], counts[e]), part.view, stream);
    expect_same_bits(y.view.slice_rows(offsets[e], counts[e]), apply(backend, experts.weights[e], part.view).view);
  }
  for (int64_t i = total * 37; i < y.view.num_elements(); ++i) ASSERT_EQ(y.view.as<float>()[i], 7.0F);
}

TEST_P(ProductsTest, GroupedIsGemmOfEachExpert) {
  const std::vector<std::vector<int64_t>> all_counts = {{0, 0}, {1}, {0, 1, 0, 3}, {5, 0, 20, 1}, {64, 14, 15, 300}};
  uint32_t seed = 10;
  for (const auto& counts : all_counts) {
    for (const bool gated : {false, true}) {
      for (const bool gathered : {false, true}) {
        SCOPED_TRACE(testing::Message() << testing::PrintToString(counts) << gated << gathered);
        check_grouped(*backend_, counts, gated, gathered, seed++);
      }
    }
  }
}

TEST_P(ProductsTest, AReplacedExpertIsTheOneThatIsRead) {
  RandomValues random(50);
  const auto expert = [&] { return backend_->prepare(gated_weight(random, 37, 120, DType::kBF16).spec); };
  std::vector<Weight> three;
  for (int e = 0; e < 3; ++e) three.push_back(expert());
  WeightGroup experts = backend_->group(std::move(three));
  const Tensor x = random.tensor({6, 120});
  const Tensor offsets = int_tensor({0, 2, 4, 6}, {4});
  const auto products = [&] {
    Tensor y = Tensor::host(DType::kF32, {6, 37});
    backend_->grouped_gemm(x.view, {offsets.view, {}, {}}, experts, y.view, stream_);
    return y;
  };
  const Tensor before = products();
  Weight other = expert();
  const Tensor expected = apply(*backend_, other, x.view.slice_rows(2, 2));
  const Weight old = backend_->replace(experts, 1, std::move(other), stream_);
  const Tensor after = products();
  expect_same_bits(after.view.slice_rows(2, 2), expected.view);
  expect_same_bits(after.view.slice_rows(0, 2), before.view.slice_rows(0, 2));
  expect_same_bits(after.view.slice_rows(4, 2), before.view.slice_rows(4, 2));
  expect_same_bits(apply(*backend_, old, x.view.slice_rows(2, 2)).view, before.view.slice_rows(2, 2));
}

OCTET_INSTANTIATE_ON_CPU(ProductsTest);

}  // namespace
}  // namespace octet
