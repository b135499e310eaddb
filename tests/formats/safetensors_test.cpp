#include "fettle/formats/safetensors.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "files.h"

namespace fettle {
namespace {

using test::refusal;
using test::safetensors_bytes;
using ::testing::HasSubstr;

constexpr double kSecondsAllowed = 2;

std::string refused(const std::string& bytes) {
  test::TempDir dir;
  test::write_text(dir / "model.safetensors", bytes);
  std::string message = refusal([&] { SafetensorsFile file(dir / "model.safetensors"); });
  EXPECT_THAT(message, HasSubstr("model.safetensors: "));
  EXPECT_EQ(message.find('\n'), message.npos);
  EXPECT_LT(message.size(), 1000u);
  return message;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}

TEST(Safetensors, RoundTrip) {
  test::TempDir dir;
  std::map<std::string, Tensor> tensors;
  tensors["weight"] = Tensor::from(std::vector<float>{1, -2, 3, 4, 5, 6}, {2, 3});
  tensors["half"] = tensors["weight"].to(DType::kBF16);
  tensors["ids"] = Tensor::from(std::vector<int64_t>{-1, int64_t{1} << 40}, {2});
  tensors["scalar"] = Tensor::from(std::vector<double>{0.5}, {});
  tensors["empty"] = Tensor::zeros({0, 3}, DType::kF32);
  tensors["name \"quoted\" ü"] = Tensor::from(std::vector<uint8_t>{7, 8, 9}, {3});
  write_safetensors(dir / "a.safetensors", tensors, {{"format", "pt"}, {"note", "a\nb"}});
  SafetensorsFile file(dir / "a.safetensors");
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}, {"note", "a\nb"}}));
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const auto& [name, expected] : tensors) {
    Tensor actual = file.tensor(name);
    EXPECT_EQ(actual.shape(), expected.shape()) << name;
    EXPECT_EQ(actual.dtype(), expected.dtype()) << name;
    EXPECT_EQ(std::memcmp(actual.raw(), expected.raw(), expected.nbytes()), 0) << name;
  }
  std::string bytes = test::read_text(dir / "a.safetensors");
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0u);
  EXPECT_EQ(bytes[8], '{');
}

TEST(Safetensors, TensorsOutliveTheFile) {
  test::TempDir dir;
  write_safetensors(dir / "a.safetensors", {{"w", Tensor::from(std::vector<float>{1, 2, 3}, {3})}});
  Tensor kept;
  {
    SafetensorsFile file(dir / "a.safetensors");
    kept = file.tensor("w");
  }
  // Saving onto a path that is mapped must not disturb those who read the old file.
  write_safetensors(dir / "a.safetensors", {{"w", Tensor::from(std::vector<float>{9, 9, 9}, {3})}});
  EXPECT_EQ(kept.span<float>()[2], 3.0f);
}

TEST(Safetensors, WriterLeavesNothingWithoutCommit) {
  test::TempDir dir;
  {
    SafetensorsWriter writer(dir / "a.safetensors", {{"w", DType::kF32, {2}}, {"v", DType::kF32, {1}}});
    writer.write(Tensor::zeros({2}, DType::kF32));
    EXPECT_THROW(writer.write(Tensor::zeros({2}, DType::kF32)), Error);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_THROW(SafetensorsWriter(dir / "b.safetensors", {{"w", DType::kF32, {2}}, {"w", DType::kF32, {1}}}),
               Error);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Safetensors, ReadsTheReferenceWriter) {
  SafetensorsFile file(test::golden_dir() / "formats" / "state.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.tensor("i64").span<int64_t>()[1], int64_t{1} << 62);
  EXPECT_EQ(file.tensor("transposed").shape(), (Shape{6, 4}));
  EXPECT_EQ(file.tensor("transposed").span<float>()[1], 6.0f);
  // Listed, though no tensor of this program can hold it.
  EXPECT_EQ(file.tensors().at("bool").dtype_name, "BOOL");
  EXPECT_THAT(refusal([&] { file.tensor("bool"); }), HasSubstr("\"bool\" is BOOL"));
  EXPECT_THAT(refusal([&] { file.tensor("absent"); }), HasSubstr("no tensor \"absent\""));
}

TEST(Safetensors, MisalignedDataIsCopied) {
  test::TempDir dir;
  std::string header = "{" + entry("b", "U8", "[1]", "[0,1]") + "," + entry("w", "F32", "[1]", "[1,5]") + "}";
  test::write_text(dir / "a.safetensors", safetensors_bytes(header, std::string("\x01\x00\x00\x80\x3f", 5)));
  EXPECT_EQ(SafetensorsFile(dir / "a.safetensors").tensor("w").span<float>()[0], 1.0f);
}

TEST(Safetensors, RefusesWrongLengths) {
  EXPECT_THAT(refused(""), HasSubstr("0 bytes"));
  EXPECT_THAT(refused("1234567"), HasSubstr("7 bytes"));
  EXPECT_THAT(refused(safetensors_bytes("")), HasSubstr("does not start with"));
  for (uint64_t length : {uint64_t{1} << 63, ~uint64_t{0}})
    EXPECT_THAT(refused(test::little_endian(length, 8) + "{}"), HasSubstr("header length"));
  EXPECT_THAT(refused(test::little_endian(3, 8) + "{}"), HasSubstr("header length is 3 but only 2"));
  test::TempDir dir;
  test::write_text(dir / "sparse.safetensors", test::little_endian(100'000'001, 8) + "{}");
  std::filesystem::resize_file(dir / "sparse.safetensors", 200'000'000);
  EXPECT_THAT(refusal([&] { SafetensorsFile file(dir / "sparse.safetensors"); }), HasSubstr("limit"));
}

TEST(Safetensors, KnowsFilesThatAreSomethingElse) {
  EXPECT_THAT(refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(refused("<!DOCTYPE html><html></html>"), HasSubstr("web page"));
  EXPECT_THAT(refused(test::read_text(test::golden_dir() / "formats" / "state.bin")),
              HasSubstr("zip or torch archive"));
}

TEST(Safetensors, RefusesHeadersThatAreNotJsonObjects) {
  EXPECT_THAT(refused(safetensors_bytes("{\"\xff\":1}")), HasSubstr("not valid JSON at offset"));
  EXPECT_THAT(refused(safetensors_bytes("\xef\xbb\xbf{}")), HasSubstr("does not start with"));
  for (const char* header : {"[]", "null", "7", "\"a\""})
    EXPECT_THAT(refused(safetensors_bytes(header)), HasSubstr("does not start with"));
  for (const char* header : {"{}x", "{}{}", "{", "{\"a\":", "{]", "{\"a\" 1}"})
    EXPECT_THAT(refused(safetensors_bytes(header)), HasSubstr("not valid JSON")) << header;
  // nlohmann's parser would stop at the NUL and leave the rest unread.
  EXPECT_THAT(refused(safetensors_bytes(std::string("{}\0junk", 7))), HasSubstr("NUL"));
  std::string deep = "{\"a\":";
  deep.append(1'000'000, '[');
  EXPECT_THAT(refused(safetensors_bytes(deep)), HasSubstr("a list"));
  deep = "";
  for (int i = 0; i < 200'000; ++i) deep += "{\"a\":";
  EXPECT_THAT(refused(safetensors_bytes(deep)), HasSubstr("unknown field"));
}

TEST(Safetensors, AcceptsWhitespaceAroundTheHeader) {
  test::TempDir dir;
  for (const char* header : {"{}", " {}", "\t\n\r {}  \n", "{\"__metadata__\":{}}"}) {
    test::write_text(dir / "a.safetensors", safetensors_bytes(header));
    EXPECT_TRUE(SafetensorsFile(dir / "a.safetensors").tensors().empty());
  }
}

TEST(Safetensors, RefusesDuplicates) {
  std::string good = entry("a", "U8", "[1]", "[0,1]");
  EXPECT_THAT(refused(safetensors_bytes("{" + good + "," + entry("a", "U8", "[1]", "[1,2]") + "}", "xx")),
              HasSubstr("duplicate tensor \"a\""));
  EXPECT_THAT(
      refused(safetensors_bytes("{" + good + "," + entry("\\u0061", "U8", "[1]", "[1,2]") + "}", "xx")),
      HasSubstr("duplicate tensor \"a\""));
  EXPECT_THAT(refused(safetensors_bytes("{\"__metadata__\":{},\"\\u005f_metadata__\":{}}")),
              HasSubstr("duplicate key"));
  EXPECT_THAT(refused(safetensors_bytes("{\"__metadata__\":{\"a\":\"1\",\"\\u0061\":\"2\"}}")),
              HasSubstr("duplicate key"));
  for (const char* field : {"\"dtype\":\"U8\"", "\"shape\":[1]", "\"data_offsets\":[0,1]"}) {
    std::string header = "{" + good;
    header.insert(header.size() - 1, std::string(",") + field);
    refused(safetensors_bytes(header + "}", "x"));
  }
}

TEST(Safetensors, RefusesWrongLayouts) {
  auto two = [](const char* a, const char* b, size_t bytes) {
    return refused(
        safetensors_bytes("{" + entry("one", "U8", "[4]", a) + "," + entry("two", "U8", "[4]", b) + "}",
                          std::string(bytes, 'x')));
  };
  EXPECT_THAT(two("[0,4]", "[2,6]", 6),
              AllOf(HasSubstr("overlaps"), HasSubstr("\"one\""), HasSubstr("\"two\"")));
  EXPECT_THAT(two("[0,4]", "[5,9]", 9), HasSubstr("1 unused bytes"));
  EXPECT_THAT(two("[1,5]", "[5,9]", 9), HasSubstr("1 unused bytes"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 10), HasSubstr("2 extra bytes"));
  EXPECT_THAT(two("[0,4]", "[4,8]", 6), HasSubstr("cut off"));
  EXPECT_THAT(two("[4,0]", "[4,8]", 8), HasSubstr("backwards"));
  for (const char* wrong : {"[-1,3]", "[0,4.0]", "[0,4e0]", "[0,18446744073709551616]", "[0,\"4\"]", "[0]",
                            "[]", "[0,4,8]", "{}", "4", "null", "[0,[4]]", "[0,true]"})
    refused(safetensors_bytes("{" + entry("a", "U8", "[4]", wrong) + "}", "xxxx"));
}

TEST(Safetensors, RefusesWrongShapesAndTypes) {
  auto one = [](const char* dtype, const std::string& shape, const char* offsets) {
    return refused(safetensors_bytes("{" + entry("a", dtype, shape, offsets) + "}", "xxxx"));
  };
  EXPECT_THAT(one("F32", "[4294967296,4294967296,4294967296]", "[0,4]"), HasSubstr("too large"));
  EXPECT_THAT(one("F32", "[2305843009213693953]", "[0,4]"), HasSubstr("2305843009213693953"));
  EXPECT_THAT(one("F32", "[2]", "[0,4]"),
              AllOf(HasSubstr("[2]"), HasSubstr("F32"), HasSubstr("8 bytes"), HasSubstr("4")));
  EXPECT_THAT(one("F7", "[1]", "[0,4]"), HasSubstr("\"F7\""));
  EXPECT_THAT(one("F4", "[3]", "[0,4]"), HasSubstr("[3]"));
  EXPECT_THAT(one("F32", "[-1]", "[0,4]"), HasSubstr("-1"));
  EXPECT_THAT(one("F32", "[1.0]", "[0,4]"), HasSubstr("1.0"));
  std::string rank = "[1";
  for (int i = 0; i < 64; ++i) rank += ",1";
  EXPECT_THAT(one("F32", rank + "]", "[0,4]"), HasSubstr("dimensions"));
  for (int i = 0; i < 1'000'000; ++i) rank += ",1";
  EXPECT_THAT(one("F32", rank + "]", "[0,4]"), HasSubstr("dimensions"));
  for (const char* header :
       {R"({"a":{}})", R"({"a":{"dtype":"U8","shape":[4]}})", R"({"a":{"dtype":"U8","data_offsets":[0,4]}})",
        R"({"a":{"shape":[4],"data_offsets":[0,4]}})",
        R"({"a":{"dtype":8,"shape":[4],"data_offsets":[0,4]}})",
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"extra":1}})", R"({"a":[1]})", R"({"a":"b"})"})
    refused(safetensors_bytes(header, "xxxx"));
}

TEST(Safetensors, EmptyTensorsAreFine) {
  test::TempDir dir;
  std::string header = "{" + entry("a", "F32", "[0,281474976710656]", "[0,0]") + "," +
                       entry("b", "U8", "[4]", "[0,4]") + "," + entry("c", "F32", "[3,0]", "[4,4]") + "}";
  test::write_text(dir / "a.safetensors", safetensors_bytes(header, "xxxx"));
  EXPECT_EQ(SafetensorsFile(dir / "a.safetensors").tensor("c").numel(), 0);
}

TEST(Safetensors, RefusesStrangeNamesAndMetadata) {
  refused(safetensors_bytes("{" + entry("", "U8", "[4]", "[0,4]") + "}", "xxxx"));
  refused(safetensors_bytes("{" + entry("a\\u0000b", "U8", "[4]", "[0,4]") + "}", "xxxx"));
  refused(safetensors_bytes("{" + entry(std::string(1 << 20, 'n'), "U8", "[4]", "[0,4]") + "}", "xxxx"));
  EXPECT_THAT(refused(safetensors_bytes("{" + entry("a\\u001b[31m\\nb", "F7", "[4]", "[0,4]") + "}", "xxxx")),
              HasSubstr("a\\x1b[31m\\nb"));
  for (const char* value : {"1", "null", "true", "1.5", "[]", "[\"a\"]", "{}", "{\"a\":\"b\"}"})
    refused(safetensors_bytes("{\"__metadata__\":{\"k\":" + std::string(value) + "}}"));
  for (const char* value : {"1", "null", "\"a\"", "[]"})
    refused(safetensors_bytes("{\"__metadata__\":" + std::string(value) + "}"));
}

TEST(Safetensors, AMillionTensorsOnTheSameBytesAreRefusedSoon) {
  std::string header = "{";
  for (int i = 0; i < 1'000'000; ++i)
    header += (i ? "," : "") + entry(std::to_string(i), "U8", "[16]", "[0,16]");
  header += "}";
  auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(refused(safetensors_bytes(header, std::string(16, 'x'))), HasSubstr("overlaps"));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  RecordProperty("seconds", std::to_string(seconds));
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(seconds, kSecondsAllowed * 3);  // the machine may be busy
#endif
}

TEST(Safetensors, RefusesWhatIsNoRegularFile) {
  test::TempDir dir;
  std::filesystem::create_directory(dir / "folder.safetensors");
  EXPECT_THAT(refusal([&] { SafetensorsFile file(dir / "folder.safetensors"); }), HasSubstr("folder"));
  ASSERT_EQ(::mkfifo((dir / "pipe.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(refusal([&] { SafetensorsFile file(dir / "pipe.safetensors"); }), HasSubstr("special file"));
  EXPECT_THAT(refusal([&] { SafetensorsFile file(dir / "absent.safetensors"); }), HasSubstr("no such file"));
  EXPECT_THAT(refusal([&] { SafetensorsFile file("/proc/self/maps"); }), HasSubstr("0 bytes"));
}

TEST(Safetensors, RealFiles) {
  FETTLE_REQUIRE_ASSETS();
  SafetensorsFile model(test::assets_dir() / "models/stories260K-hf/model.safetensors");
  EXPECT_GT(model.tensors().size(), 10u);
  for (const char* name : {"distilbert-lora-modules-to-save", "gpt2-lora-seqcls", "llama-3.2-1b-lora-r8"}) {
    SafetensorsFile file(test::assets_dir() / "adapters" / name / "adapter_model.safetensors");
    for (const auto& [key, info] : file.tensors()) EXPECT_TRUE(file.tensor(key).defined()) << key;
  }
  std::string message = refusal([&] {
    SafetensorsFile file(test::assets_dir() /
                         "adapters/qwen2.5-vl-regex-target-TRUNCATED/adapter_model.truncated.safetensors");
  });
  EXPECT_THAT(message, HasSubstr("cut off"));
}

}  // namespace
}  // namespace fettle
