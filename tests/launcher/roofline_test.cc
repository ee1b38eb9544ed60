// octet bench roofline: device files, and the bound of a decode step of Mixtral 8x7B on eight H100.
#include "launcher/device_file.h"
#include "tests/launcher/run_octet.h"

namespace octet::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const std::string kMixtral = kSourceDir / "configs/models/mixtral-8x7b";

TEST(DeviceFile, ShippedOnesAreReadByName) {
  for (const auto& [name, read] :
       {std::pair("a100-80gb", 2039e9), std::pair("h100-sxm", 3350e9), std::pair("h200", 4800e9)}) {
    const auto device = read_device_file(name);
    ASSERT_TRUE(device.ok()) << device.status().message();
    EXPECT_DOUBLE_EQ(device->read_bytes_per_second, read);
    EXPECT_EQ(device->devices_per_node, 8);
  }
}

TEST(DeviceFile, GpusAreFoundByTheNameTheirDriverGives) {
  EXPECT_EQ(find_device_file("NVIDIA H100 80GB HBM3").value()->name, "H100 SXM");
  EXPECT_EQ(find_device_file("NVIDIA A100-SXM4-80GB").value()->name, "A100 80GB SXM");
  EXPECT_FALSE(find_device_file("NVIDIA H100").value().has_value());
}

TEST(DeviceFile, WhatIsWrongIsNamed) {
  const auto message = [](const char* text) { return parse_device_file(text, "d.toml").status().message(); };
  EXPECT_THAT(message("name = \"x\"\nread_gb = 1\n"), HasSubstr("d.toml:2: unknown key 'read_gb'"));
  EXPECT_THAT(message("name = \"x\"\nread_gb_s = -1\n"), HasSubstr("d.toml:2: read_gb_s"));
  EXPECT_THAT(message("name = \"x\"\nread_gb_s = 1\n"), HasSubstr("product_tflop_s"));
  EXPECT_FALSE(read_device_file("h1000").ok());
}

TEST(RooflineCommand, ADecodeStepOfMixtralOnEightH100) {
  const json report = json_of({"bench", "roofline", "--model", kMixtral, "--device-file", "h100-sxm", "--ranks", "8",
                               "--streams", "32", "--context", "1023", "--prompt-tokens", "0", "--measured-ms", "10",
                               "--exchange", "replicated", "--json"});
  const json& step = report["steps"][0];
  // A rank reads its expert of each layer, its part of attention's weights, keys and values, the router, an eighth of
  // the head and 32 rows of the embedding at 3.35 TB/s; a layer sends 32 rows of 16 KiB four times 7/8 at 450 GB/s.
  const double experts = 32 * 2 * 3 * 4096.0 * 14336;
  const double weights = 32 * 2 * 4096.0 * (512 + 256 + 512 + 8) + 2 * 4096.0 * (4000 + 32);
  const double kv = 32 * 32 * 1024 * 2 * 128 * 2.0;
  const double sent = 32 * 32 * 4 * 7 / 8.0 * 4096 * 4;
  EXPECT_NEAR(step["in_turn_ms"], ((experts + weights + kv) / 3350e9 + sent / 450e9) * 1e3, 1e-6);
  EXPECT_NEAR(step["overlapped_ms"], (experts + weights + kv) / 3350e9 * 1e3, 1e-6);
  EXPECT_NEAR(step["fraction_of_bound"], step["in_turn_ms"].get<double>() / 10, 1e-9);
}

TEST(RooflineCommand, TheTableNamesEveryKernelAndItsBound) {
  const std::string text = output_of(
      {"bench", "roofline", "--model", kMixtral, "--device-file", "a100-80gb", "--ranks", "2", "--streams", "1,64"});
  for (const char* part : {"A100 80GB SXM", "decode, 1 stream", "decode, 64 streams", "prefill, 512 tokens", "experts",
                           "exchange", "memory", "arithmetic", "link", "launches"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

}  // namespace
}  // namespace octet::testing
