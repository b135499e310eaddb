// Files that are cut, changed, of another version, of another kind, or change while they are in use.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "faults/process.h"
#include "fettle/base/json.h"
#include "fettle/formats/safetensors.h"
#include "fettle/train/checkpoint.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using ::testing::HasSubstr;

class FileFaults : public ::testing::Test {
 protected:
  // A copy of the base that may be damaged.
  fs::path copied_base() {
    fs::path base = folder_ / "base";
    fs::remove_all(base);
    fs::copy(test::source_dir() / "examples/quickstart/base", base);
    return base;
  }
  ProcessResult train(const fs::path& base, std::vector<std::string> more = {}) {
    fs::remove_all(folder_ / "run");
    more.push_back("model_name_or_path=" + base.string());
    return test::run_fettle(test::quickstart_run(folder_ / "run", more));
  }
  fs::path checkpoint() {
    EXPECT_EQ(test::run_fettle(test::quickstart_run(folder_ / "run", {"stop_at_step=4"})).code, 75);
    return folder_ / "run/checkpoint-4";
  }
  static std::map<std::string, Tensor> tensors(const fs::path& file) {
    SafetensorsFile in(file);
    std::map<std::string, Tensor> all;
    for (const auto& [name, info] : in.tensors()) all[name] = in.tensor(name).clone(MemoryKind::kWeights);
    return all;
  }
  test::TempDir folder_;
};

// R10
TEST_F(FileFaults, WeightsThatAreCut) {
  const fs::path base = copied_base();
  const std::string whole = test::read_text(base / "model.safetensors");
  uint64_t header = 0;
  for (int i = 7; i >= 0; --i)
    header = header << 8 | static_cast<unsigned char>(whole[static_cast<size_t>(i)]);
  for (uint64_t cut : {uint64_t{0}, uint64_t{7}, uint64_t{8}, header + 7, header + 8, header + 9,
                       whole.size() / 2, whole.size() - 1}) {
    SCOPED_TRACE(cut);
    test::write_text(base / "model.safetensors", whole.substr(0, cut));
    ProcessResult result = train(base);
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_THAT(result.err, HasSubstr("model.safetensors: "));
    EXPECT_THAT(result.err, ::testing::ContainsRegex("cut off|at least 8"));
  }
}

// R11
TEST_F(FileFaults, EveryFlippedBitOfACheckpointIsFound) {
  const fs::path folder = checkpoint();
  ASSERT_EQ(checkpoint_problem(folder), "");
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  long flips = 0;
  for (const fs::path& file : files) {
    const std::string whole = test::read_text(file);
    // All of the manifest, which nothing vouches for but itself; of the others some places and their ends.
    const bool manifest = file.filename() == "manifest.json";
    const size_t places = manifest ? whole.size() : test::try_all_faults() ? 400 : 9;
    for (size_t i = 0; i < places; ++i) {
      const size_t at = places > 1 ? i * (whole.size() - 1) / (places - 1) : 0;
      for (int bit = 0; bit < 8; bit += manifest && !test::try_all_faults() ? 3
                                        : manifest || i % 8 == 0            ? 1
                                                                            : 8) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
        test::write_text(file, changed);
        ++flips;
        EXPECT_NE(checkpoint_problem(folder), "") << file << " byte " << at << " bit " << bit;
      }
    }
    test::write_text(file, whole);
  }
  EXPECT_EQ(checkpoint_problem(folder), "");
  EXPECT_GT(flips, 2000);
  // `latest` is for people; resuming looks at the folders.
  test::write_text(folder_ / "run/latest", "checkpoint-5\n");
  EXPECT_EQ(test::run_fettle(test::quickstart_run(folder_ / "run", {"resume_from_checkpoint=true"})).code, 0);
}

// R11, of files without a hash: what can be known from their form is.
TEST_F(FileFaults, AForeignAdapterThatIsDamaged) {
  const fs::path adapter = checkpoint() / "adapter_model.safetensors";
  std::map<std::string, Tensor> all = tensors(adapter);
  const fs::path base = test::source_dir() / "examples/quickstart/base";
  auto with = [&](const std::map<std::string, Tensor>& changed) {
    write_safetensors(folder_ / "foreign/adapter_model.safetensors", changed);
    return train(base, {"adapter_name_or_path=" + (folder_ / "foreign").string()});
  };
  fs::create_directories(folder_ / "foreign");
  fs::copy_file(adapter.parent_path() / "adapter_config.json", folder_ / "foreign/adapter_config.json");
  EXPECT_EQ(with(all).code, 0);
  std::map<std::string, Tensor> missing = all;
  missing.erase(missing.begin());
  ProcessResult result = with(missing);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr(all.begin()->first.substr(0, 20)));
  // A value that is NaN ends the run before its first step is taken.
  std::map<std::string, Tensor> poisoned = all;
  poisoned.begin()->second.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  result = with(poisoned);
  EXPECT_EQ(result.code, 5) << result.err;
}

// R12, R13
TEST_F(FileFaults, ShardsThatDoNotBelongTogether) {
  const fs::path base = copied_base();
  std::map<std::string, Tensor> all = tensors(base / "model.safetensors");
  fs::remove(base / "model.safetensors");
  ASSERT_GT(all.size(), 12u);
  std::map<std::string, Tensor> first, second;
  Json map;
  for (const auto& [name, tensor] : all) {
    const bool in_first = first.size() < all.size() / 2;
    (in_first ? first : second)[name] = tensor;
    map[name] = in_first ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  }
  auto write = [&](const Json& weight_map) {
    write_safetensors(base / "model-00001-of-00002.safetensors", first);
    write_safetensors(base / "model-00002-of-00002.safetensors", second);
    Json index = {{"metadata", Json::object()}, {"weight_map", weight_map}};
    test::write_text(base / "model.safetensors.index.json", index.dump());
  };
  write(map);
  EXPECT_EQ(train(base, {"max_steps=1"}).code, 0);
  // A shard that is not there.
  fs::remove(base / "model-00002-of-00002.safetensors");
  ProcessResult result = train(base);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model-00002-of-00002.safetensors"));
  // A tensor that the index does not name, and one it names that is in no shard.
  write(map);
  Json fewer = map;
  for (int i = 0; i < 12; ++i) fewer.erase(fewer.begin().key());
  write(fewer);
  result = train(base);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("12 weights cannot be used"));
  EXPECT_THAT(result.err, HasSubstr("; …"));
  Json wrong = map;
  wrong["model.nothing.weight"] = "model-00001-of-00002.safetensors";
  write(wrong);
  result = train(base);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model.nothing.weight"));
  // Another shape, another type.
  write(map);
  Json config = read_json(base / "config.json");
  const Json right = config;
  config["intermediate_size"] = config["intermediate_size"].get<int>() + 8;
  test::write_text(base / "config.json", config.dump());
  result = train(base);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("config.json asks for ["));
  test::write_text(base / "config.json", right.dump());
  second.rbegin()->second = Tensor::zeros(second.rbegin()->second.shape(), DType::kI32, MemoryKind::kWeights);
  write(map);
  result = train(base);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("expected F32, F16 or BF16"));
}

// R14
TEST_F(FileFaults, WeightsThatAreNotFinite) {
  const fs::path base = copied_base();
  std::map<std::string, Tensor> all = tensors(base / "model.safetensors");
  Tensor& norm = all["model.norm.weight"];
  Tensor wide = norm.to(DType::kF32, MemoryKind::kWeights);
  wide.data<float>()[3] = std::numeric_limits<float>::infinity();
  wide.data<float>()[4] = std::numeric_limits<float>::quiet_NaN();
  norm = wide.to(norm.dtype(), MemoryKind::kWeights);
  write_safetensors(base / "model.safetensors", all);
  ProcessResult warned = train(base);
  EXPECT_EQ(warned.code, 5) << warned.err;  // such a run cannot but diverge
  EXPECT_THAT(warned.err, HasSubstr("\"model.norm.weight\" has 2 of "));
  ProcessResult refused = train(base, {"strict_finite=true"});
  EXPECT_EQ(refused.code, 3) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("strict_finite refuses it"));
}

// R33
TEST_F(FileFaults, CheckpointsOfAnotherVersion) {
  const fs::path folder = checkpoint();
  for (const Json& version : {Json(2), Json(0), Json("1"), Json()}) {
    Json manifest = read_json(folder / "manifest.json");
    manifest["format_version"] = version;
    test::write_text(folder / "manifest.json", manifest.dump());
    ProcessResult result = test::run_fettle(
        test::quickstart_run(folder_ / "run", {"resume_from_checkpoint=" + folder.string()}));
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_THAT(result.err, HasSubstr("format version " + version.dump() + ", this program knows 1"));
  }
}

// R34
TEST_F(FileFaults, FilesOfAnotherKindAndStrangeNames) {
  const fs::path base = copied_base(), weights = base / "model.safetensors", aside = folder_ / "weights";
  fs::rename(weights, aside);
  fs::create_symlink(aside, weights);
  EXPECT_EQ(train(base, {"max_steps=1"}).code, 0);
  struct Kind {
    const char* message;
    std::function<void()> make;
  };
  for (const Kind& kind : {Kind{"special file", [&] { ASSERT_EQ(::mkfifo(weights.c_str(), 0600), 0); }},
                           Kind{"special file", [&] { fs::create_symlink("/dev/zero", weights); }},
                           Kind{"folder", [&] { fs::create_directory(weights); }},
                           Kind{"model.safetensors", [&] { fs::create_symlink("nowhere", weights); }},
                           Kind{"model.safetensors", [&] { fs::create_symlink(weights, weights); }}}) {
    fs::remove_all(weights);
    kind.make();
    ProcessResult result = train(base);
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_THAT(result.err, HasSubstr(kind.message));
  }
  fs::remove_all(weights);
  fs::rename(aside, weights);
  std::string deep;
  for (int i = 0; i < 15; ++i) deep += std::string(200, static_cast<char>('a' + i)) + "/";
  for (const std::string& name : {std::string("with two  spaces"), std::string("心理 咨询 ünï"),
                                  std::string("-rf"), std::string("$(id); *"), deep + "run"}) {
    SCOPED_TRACE(name);
    const fs::path output = folder_ / name;
    ProcessResult result = test::run_fettle(test::quickstart_run(output));
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(checkpoint_problem(output / "checkpoint-9"), "");
    EXPECT_EQ(test::run_fettle(test::quickstart_run(output, {"resume_from_checkpoint=true"})).code, 0);
  }
  ProcessResult too_long = test::run_fettle(test::quickstart_run(folder_ / std::string(300, 'x')));
  EXPECT_EQ(too_long.code, 4) << too_long.err;
  EXPECT_THAT(too_long.err, HasSubstr("File name too long"));
}

// R35
TEST_F(FileFaults, WeightsThatAreCutWhileInUse) {
  const fs::path base = copied_base();
  test::Running running(test::quickstart_run(folder_ / "run", {"model_name_or_path=" + base.string()}),
                        test::fault_environment({.below = (folder_ / "run/trainer_log.jsonl").string(),
                                                 .kind = "SIGSTOP",
                                                 .operations = "write",
                                                 .at = 2}));
  ASSERT_TRUE(running.wait_for_stop());
  fs::resize_file(base / "model.safetensors", 4096);
  running.send(SIGCONT);
  ProcessResult result = running.wait();
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("model.safetensors: the file was changed or cut while it was in use"));
  EXPECT_EQ(checkpoint_problem(folder_ / "run/checkpoint-2"), "");
}

// R40, R42
TEST_F(FileFaults, ExportsAreWholeOrAbsent) {
  const fs::path base = copied_base(), adapter = checkpoint(), merged = folder_ / "merged";
  const std::string before = test::folder_content(base) + test::folder_content(adapter);
  std::vector<std::string> words = {"export", "model_name_or_path=" + base.string(),
                                    "adapter_name_or_path=" + adapter.string(),
                                    "export_dir=" + merged.string()};
  const long count =
      test::run_with_fault(words, {.below = merged.string(), .kind = "EIO", .operations = {}, .at = 1000000})
          .counted;
  ASSERT_GT(count, 10);
  const std::string whole = test::folder_content(merged);
  for (const char* kind : {"SIGKILL", "ENOSPC"}) {
    const long stride = test::fault_stride(count, 5);
    for (long n = 1; n <= count; n += stride) {
      SCOPED_TRACE(fmt::format("{} at {} of {}", kind, n, count));
      fs::remove_all(merged);
      test::FaultResult result =
          test::run_with_fault(words, {.below = merged.string(), .kind = kind, .operations = {}, .at = n});
      EXPECT_TRUE(result.code == 128 + 9 || result.code == 4 || result.code == 0) << result.err;
      if (result.code == 4) EXPECT_THAT(result.err, HasSubstr("No space left"));
      if (fs::exists(merged)) EXPECT_TRUE(test::folder_content(merged) == whole);
    }
  }
  EXPECT_TRUE(test::folder_content(base) + test::folder_content(adapter) == before);
  for (const fs::path& own : {base, adapter}) {
    words[3] = "export_dir=" + own.string();
    EXPECT_EQ(test::run_fettle(words).code, 2);
  }
  EXPECT_TRUE(test::folder_content(base) + test::folder_content(adapter) == before);
  // An adapter whose sum with the base is infinite.
  std::map<std::string, Tensor> all = tensors(adapter / "adapter_model.safetensors");
  for (auto& [name, tensor] : all)
    for (float& value : tensor.span<float>()) value = 1e38f;
  write_safetensors(adapter / "adapter_model.safetensors", all);
  fs::remove_all(merged);
  words[3] = "export_dir=" + merged.string();
  ProcessResult result = test::run_fettle(words);
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("is not finite after merging"));
  EXPECT_FALSE(fs::exists(merged));
}

}  // namespace
}  // namespace fettle
