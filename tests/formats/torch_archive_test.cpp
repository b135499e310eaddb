#include "fettle/formats/torch_archive.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "files.h"

namespace fettle {
namespace {

using test::little_endian;
using test::refusal;
using ::testing::HasSubstr;

std::filesystem::path golden(const std::string& name) {
  return test::golden_dir() / "formats" / name;
}

std::string refused(const std::string& bytes) {
  test::TempDir dir;
  test::write_text(dir / "model.bin", bytes);
  std::string message = refusal([&] { TorchArchive archive(dir / "model.bin"); });
  EXPECT_THAT(message, HasSubstr("model.bin"));
  EXPECT_LT(message.size(), 1000u);
  return message;
}

// Pieces of pickle programs.
const std::string kProto = "\x80\x02";
std::string text(const std::string& value) {
  return "X" + little_endian(value.size(), 4) + value;
}
std::string number(int32_t value) {
  return "J" + little_endian(static_cast<uint32_t>(value), 4);
}
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string storage(const std::string& type, int32_t elements, const std::string& view = "") {
  return "(" + text("storage") + global("torch", type) + text("0") + text("cpu") + number(elements) + view +
         "tQ";
}
std::string tuple(const std::vector<int32_t>& values) {
  std::string out = "(";
  for (int32_t v : values) out += number(v);
  return out + "t";
}
std::string tensor(const std::string& storage, int32_t offset, const std::string& shape,
                   const std::string& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + number(offset) + shape + stride +
         "\x89" + global("collections", "OrderedDict") + ")R" + "tR";
}
std::string dict(const std::string& items) {
  return "}(" + items + "u";
}
std::string archive(const std::string& program, const std::string& data = std::string(24, '\0')) {
  return test::zip_bytes({{"a/data.pkl", kProto + program + "."}, {"a/data/0", data}});
}

void expect_same(const TorchArchive& archive, const std::string& reference, bool torch_names = true) {
  SafetensorsFile expected(golden(reference));
  ASSERT_EQ(archive.tensors().size(), expected.tensors().size());
  for (const auto& [name, info] : expected.tensors()) {
    ASSERT_TRUE(archive.tensors().contains(name)) << name;
    EXPECT_EQ(archive.tensors().at(name).shape, info.shape) << name;
    EXPECT_EQ(archive.tensors().at(name).dtype_name, info.dtype_name) << name;
    if (!info.dtype) {
      EXPECT_THAT(refusal([&] { archive.tensor(name); }), HasSubstr("not supported"));
      continue;
    }
    Tensor a = archive.tensor(name), b = expected.tensor(name);
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), b.nbytes()), 0) << name;
  }
}

TEST(TorchArchive, ReadsTheZipFormat) {
  expect_same(TorchArchive(golden("state.bin")), "state.safetensors");
}
TEST(TorchArchive, ReadsTheLegacyFormat) {
  expect_same(TorchArchive(golden("state_legacy.bin")), "state.safetensors");
}
TEST(TorchArchive, ReadsZip64) {
  expect_same(TorchArchive(golden("zip64.bin")), "state.safetensors");
}

TEST(TorchArchive, SlicesOfOneLegacyStorage) {
  TorchArchive archive(golden("shared_view_legacy.bin"));
  EXPECT_EQ(archive.tensor("a").span<float>()[5], 5.0f);
  EXPECT_EQ(archive.tensor("b").span<float>()[0], 4.0f);
  EXPECT_EQ(archive.tensor("b").numel(), 6);
}

TEST(TorchArchive, NeverCallsAnything) {
  std::filesystem::path trace = "/tmp/fettle-was-here";
  std::filesystem::remove(trace);
  for (const std::filesystem::directory_entry& entry :
       std::filesystem::directory_iterator(test::golden_dir() / "formats")) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with("malicious_")) continue;
    std::string message = refusal([&] { TorchArchive archive(entry.path()); });
    EXPECT_THAT(message, HasSubstr("nothing was run")) << name;
    std::string called = name.substr(10, name.find('_', 10) - 10);
    EXPECT_THAT(message, HasSubstr(called)) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(trace));
}

TEST(TorchArchive, RefusesEveryOtherOpcode) {
  // INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, EXT2, EXT4, PERSID, BUILD of a tensor, and the opcodes of other data
  // types.
  for (const char* opcode :
       {"i", "o", "\x81", "\x92", "\x82", "\x83", "\x84", "P",    "V",    "S",    "I",    "L",
        "F", "B", "C",    "\x8e", "\x8f", "\x90", "\x91", "\x96", "\x97", "\x98", "\xff", "z"})
    EXPECT_THAT(refused(archive("}" + std::string(opcode) + "aaaaaaaa\nbbbbbbbb\n")),
                HasSubstr(fmt::format("opcode 0x{:02x}", static_cast<uint8_t>(opcode[0]))));
  std::string good = tensor(storage("FloatStorage", 6), 0, tuple({2, 3}), tuple({3, 1}));
  EXPECT_THAT(refused(archive(dict(text("w") + good + "}b"))), HasSubstr("BUILD"));
  EXPECT_THAT(refused(archive("c__builtin__\neval\n.")), HasSubstr("__builtin__.eval"));
  EXPECT_THAT(refused(archive("ctorch\nFloatStorage\nX")), HasSubstr("pickle"));
  EXPECT_THAT(refused(archive(text("posix") + text("system") + "\x93")), HasSubstr("posix.system"));
  EXPECT_THAT(refused(archive("c" + std::string(5000, 'm') + "\nx\n")), HasSubstr("longer than"));
  EXPECT_THAT(refused(archive("c\x1b[2J\nx\n")), HasSubstr("\\x1b[2J"));
}

TEST(TorchArchive, RefusesDamagedPrograms) {
  for (const std::string& program : {std::string(""),
                                     std::string("0"),
                                     std::string("t"),
                                     std::string("u"),
                                     std::string("}u"),
                                     std::string("}(u("),
                                     std::string("R"),
                                     std::string("}}R"),
                                     std::string("h\1"),
                                     std::string("j\1\0\0\0", 5),
                                     std::string("q\1"),
                                     std::string("Q"),
                                     std::string("}Q"),
                                     std::string("a"),
                                     std::string("}Na"),
                                     std::string("]Ns"),
                                     std::string("}(Nu"),
                                     std::string("b"),
                                     std::string("N"),
                                     std::string("K\1"),
                                     std::string("]"),
                                     std::string(")"),
                                     std::string("X\xff\xff\xff\xff"),
                                     std::string("\x8a\xff"),
                                     std::string("(((((t"),
                                     std::string("\x86"),
                                     std::string("}NNs"),
                                     std::string("X\2\0\0\0\xff\xfe", 7)})
    refused(test::zip_bytes({{"a/data.pkl", program + "."}})),
        refused(test::zip_bytes({{"a/data.pkl", program}}));
}

TEST(TorchArchive, RefusesWrongTensors) {
  auto one = [](const std::string& value, const std::string& data = std::string(24, '\0')) {
    return refused(archive(dict(text("w") + value), data));
  };
  std::string six = storage("FloatStorage", 6);
  EXPECT_THAT(one(tensor(six, 1, tuple({2, 3}), tuple({3, 1}))), HasSubstr("its storage has 6"));
  EXPECT_THAT(one(tensor(six, -1, tuple({2}), tuple({1}))), HasSubstr("damaged"));
  EXPECT_THAT(one(tensor(six, 0, tuple({-2}), tuple({1}))), HasSubstr("impossible"));
  EXPECT_THAT(one(tensor(six, 0, tuple({2}), tuple({-1}))), HasSubstr("impossible"));
  EXPECT_THAT(one(tensor(six, 0, tuple({2, 2}), tuple({1}))), HasSubstr("damaged"));
  // A stride of zero would make a small file ask for any amount of memory.
  EXPECT_THAT(one(tensor(six, 0, tuple({2000000000}), tuple({0}))), HasSubstr("its storage has 6"));
  EXPECT_THAT(one(tensor(six, 0, tuple({2000000000, 2000000000, 2000000000}), tuple({0, 0, 0}))),
              HasSubstr("too large"));
  EXPECT_THAT(one(tensor(six, 0, tuple({2, 3}), tuple({3, 1})), std::string(23, '\0')),
              HasSubstr("23 bytes"));
  EXPECT_THAT(one(tensor(storage("FloatStorage", 6, text("view")), 0, tuple({1}), tuple({1}))),
              HasSubstr("view"));
  EXPECT_THAT(one(tensor(storage("ComplexFloatStorage", 6), 0, tuple({1}), tuple({1}))),
              HasSubstr("torch.ComplexFloatStorage"));
  EXPECT_THAT(refused(test::zip_bytes(
                  {{"a/data.pkl", kProto + dict(text("w") + tensor(six, 0, tuple({1}), tuple({1}))) + "."}})),
              HasSubstr("storage of tensor \"w\" is missing"));
  std::string good = tensor(six, 0, tuple({2, 3}), tuple({3, 1}));
  EXPECT_THAT(refused(archive(dict(text("w") + good + text("w") + good))), HasSubstr("twice"));
  EXPECT_THAT(refused(archive(dict("N" + good))), HasSubstr("key"));
  EXPECT_THAT(refused(archive(good)), HasSubstr("no state dict"));
  EXPECT_THAT(one("("), HasSubstr("pickle"));
}

TEST(TorchArchive, EmptyTensorsWithWildNumbers) {
  test::TempDir dir;
  std::string empty = tensor(storage("FloatStorage", 6), 0x7fffffff,
                             tuple({0, 0x7fffffff, 0x7fffffff, 0x7fffffff}), tuple({1, 1, 1, 1}));
  test::write_text(dir / "a.bin", archive(dict(text("w") + empty)));
  TorchArchive archive(dir / "a.bin");
  EXPECT_EQ(archive.tensor("w").numel(), 0);
}

// Programs of a few kilobytes that would grow without end if values were copied or dicts walked without a
// bound.
TEST(TorchArchive, RefusesBombs) {
  std::string six = tensor(storage("FloatStorage", 6), 0, tuple({1}), tuple({1}));
  // A dict that holds itself.
  EXPECT_THAT(refused(archive(std::string("}q\1") + text("a") + "h\1s")), HasSubstr("nested deeper"));
  // Each dict holds the one before twice, 2^60 tensors in all; deeper than any state dict.
  std::string doubling = dict(text("w") + six) + "q\1";
  std::string shallow = "0";
  for (int i = 0; i < 60; ++i) doubling += "0" + dict(text("a") + "h\1" + text("b") + "h\1") + "q\1";
  EXPECT_THAT(refused(archive(doubling)), HasSubstr("nested deeper"));
  // The same in width: 64^4 tensors within the depth allowed.
  std::string wide = dict(text("w") + six) + "q\1";
  for (int level = 0; level < 4; ++level) {
    std::string items;
    for (int i = 0; i < 64; ++i) items += text(std::to_string(i)) + "h\1";
    wide += "0" + dict(items) + "q\1";
  }
  EXPECT_THAT(refused(archive(wide)), HasSubstr("more than"));
  // A long tuple that every call would copy.
  std::string tuple_bomb = "(";
  tuple_bomb.append(100'000, 'N');
  tuple_bomb += std::string("tq\1") + "0" + global("collections", "OrderedDict") + "q\2";
  for (int i = 0; i < 1000; ++i) tuple_bomb += std::string("h\2h\1R");
  EXPECT_THAT(refused(archive(tuple_bomb)), HasSubstr("100000 arguments"));
  // Values without end, marks without end, names without end.
  EXPECT_THAT(refused(archive(std::string(3'000'000, 'N'))), HasSubstr("more than"));
  EXPECT_THAT(refused(archive(std::string(5'000'000, '('))), HasSubstr("more than"));
  EXPECT_THAT(refused(archive(dict(text(std::string(100'000, 'n')) + six))), HasSubstr("longer than"));
  // Nested containers are freed without recursion.
  std::string nest;
  for (int i = 0; i < 1'000'000; ++i) nest += "]";
  for (int i = 1; i < 1'000'000; ++i) nest += "a";
  EXPECT_THAT(refused(archive(nest)), HasSubstr("no state dict"));
}

TEST(TorchArchive, RefusesWrongZips) {
  EXPECT_THAT(refusal([&] { TorchArchive archive(golden("compressed.bin")); }), HasSubstr("compressed"));
  EXPECT_THAT(refused(test::zip_bytes({{"readme.txt", "hello"}})), HasSubstr("no data.pkl"));
  EXPECT_THAT(refused(test::zip_bytes({{"a/data.pkl", "}."}, {"b/data.pkl", "}."}})),
              HasSubstr("two data.pkl"));
  EXPECT_THAT(refused(test::zip_bytes({{"a/data.pkl", "}."}, {"a/data.pkl", "}."}})), HasSubstr("twice"));
  EXPECT_THAT(refused(test::zip_bytes({{"a/data.pkl", "}."}, {"a/byteorder", "big"}})),
              HasSubstr("byte order"));
  EXPECT_THAT(refused("PK\3\4"), HasSubstr("too few"));
  EXPECT_THAT(refused("PK\3\4" + std::string(100, 'x')), HasSubstr("no zip directory"));
  std::string good = test::zip_bytes({{"a/data.pkl", "}."}, {"a/data/0", "abcdef"}});
  size_t end = good.rfind("PK\5\6"), entry = good.rfind("PK\1\2");
  auto patched = [&](size_t at, uint64_t value, int width) {
    std::string bytes = good;
    bytes.replace(at, static_cast<size_t>(width), little_endian(value, width));
    return refused(bytes);
  };
  EXPECT_THAT(patched(end + 10, 0xFFFE, 2), HasSubstr("claims 65534 entries"));
  EXPECT_THAT(patched(end + 16, 0xFFFFFFF0, 4), HasSubstr("zip"));
  EXPECT_THAT(patched(entry + 8, 1, 2), HasSubstr("encrypted"));
  EXPECT_THAT(patched(entry + 10, 8, 2), HasSubstr("compressed"));
  EXPECT_THAT(patched(entry + 24, 1 << 30, 4), HasSubstr("compressed"));
  EXPECT_THAT(patched(entry + 42, 0, 4), HasSubstr("overlap"));
  EXPECT_THAT(patched(entry + 42, 0xFFFFFFFF, 4), HasSubstr("zip"));
  std::string both = good;
  both.replace(entry + 20, 8, little_endian(1 << 30, 4) + little_endian(1 << 30, 4));
  EXPECT_THAT(refused(both), HasSubstr("cut off"));
}

TEST(TorchArchive, KnowsFilesThatAreSomethingElse) {
  EXPECT_THAT(refused(""), HasSubstr("empty"));
  EXPECT_THAT(refused("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(refused("GGUF\3\0\0\0"), HasSubstr("GGUF"));
  EXPECT_THAT(refused(test::read_text(golden("state.safetensors"))), HasSubstr("safetensors"));
  EXPECT_THAT(refused("hello"), HasSubstr("not a torch archive"));
  EXPECT_THAT(refused("\x80\x02\x8a\x0a\1\2\3\4\5\6\7\x08\x09\x0a."), HasSubstr("magic number"));
}

TEST(TorchArchive, RealFiles) {
  FETTLE_REQUIRE_ASSETS();
  std::filesystem::path adapters = test::assets_dir() / "adapters";
  TorchArchive prompts(adapters / "bloomz-560m-prompt-tuning/adapter_model.bin");
  ASSERT_EQ(prompts.tensors().size(), 1u);
  EXPECT_EQ(prompts.tensor("prompt_embeddings").shape(), (Shape{8, 1024}));
  for (const char* folder : {"distilbert-lora-modules-to-save", "flan-t5-base-lora-r16/checkpoint-1000"}) {
    // A schedule is a dict of plain values: nothing to read, nothing to fear.
    EXPECT_TRUE(TorchArchive(adapters / folder / "scheduler.pt").tensors().empty());
    EXPECT_THAT(refusal([&] { TorchArchive archive(adapters / folder / "rng_state.pth"); }),
                HasSubstr("numpy"));
    EXPECT_THAT(refusal([&] { TorchArchive archive(adapters / folder / "training_args.bin"); }),
                HasSubstr("transformers.training_args"));
  }
}

}  // namespace
}  // namespace fettle
