#include "fettle/formats/weight_source.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "files.h"

namespace fettle {
namespace {

using test::refusal;
using ::testing::HasSubstr;

class WeightSourceTest : public ::testing::Test {
 protected:
  void shard(const std::string& file, const std::vector<std::string>& names, float value = 1) {
    std::map<std::string, Tensor> tensors;
    for (const std::string& name : names) tensors[name] = Tensor::from(std::vector<float>{value, value}, {2});
    write_safetensors(dir / file, tensors);
  }
  void index(const Json& map, const Json& metadata = Json::object()) {
    test::write_text(dir / "model.safetensors.index.json",
                     Json({{"metadata", metadata}, {"weight_map", map}}).dump());
  }
  std::string refused() {
    return refusal([&] { WeightSource::open_model(dir.path()); });
  }
  test::TempDir dir;
};

TEST_F(WeightSourceTest, Shards) {
  shard("model-00001-of-00002.safetensors", {"a", "b"}, 1);
  shard("model-00002-of-00002.safetensors", {"c"}, 2);
  index({{"a", "model-00001-of-00002.safetensors"},
         {"b", "model-00001-of-00002.safetensors"},
         {"c", "model-00002-of-00002.safetensors"}},
        {{"total_size", 24}});
  WeightSource source = WeightSource::open_model(dir.path());
  EXPECT_THAT(source.names(), ::testing::ElementsAre("a", "b", "c"));
  EXPECT_EQ(source.tensor("c").span<float>()[1], 2.0f);
  EXPECT_EQ(source.entry("c").file.filename(), "model-00002-of-00002.safetensors");
  EXPECT_EQ(source.total_bytes(), 24u);
  EXPECT_TRUE(source.notes().empty());
  EXPECT_FALSE(source.has("d"));
  EXPECT_THAT(refusal([&] { source.tensor("d"); }), HasSubstr("no tensor \"d\""));
}

TEST_F(WeightSourceTest, PrecedenceIsThatOfTransformers) {
  EXPECT_THAT(refused(), HasSubstr("no weights"));
  std::filesystem::copy_file(test::golden_dir() / "formats/state.bin", dir / "pytorch_model.bin");
  EXPECT_TRUE(WeightSource::open_model(dir.path()).has("nested.inner.weight"));
  shard("shard.safetensors", {"from_index"});
  index({{"from_index", "shard.safetensors"}});
  WeightSource indexed = WeightSource::open_model(dir.path());
  EXPECT_TRUE(indexed.has("from_index"));
  EXPECT_TRUE(indexed.notes().empty());
  shard("model.safetensors", {"single"});
  WeightSource single = WeightSource::open_model(dir.path());
  EXPECT_THAT(single.names(), ::testing::ElementsAre("single"));
  ASSERT_EQ(single.notes().size(), 1u);
  EXPECT_THAT(single.notes()[0],
              AllOf(HasSubstr("model.safetensors.index.json"), HasSubstr("model.safetensors is used")));
}

TEST_F(WeightSourceTest, AnIndexDoesNotLeaveTheFolder) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "a/../../b.safetensors", ""}) {
    index({{"a", name}});
    EXPECT_THAT(refused(), HasSubstr("outside the model folder")) << name;
  }
  index({{"a", std::string("b\0c", 3)}});
  EXPECT_THAT(refused(), HasSubstr("outside the model folder"));
}

TEST_F(WeightSourceTest, MissingShardsAndTensorsAreListed) {
  shard("present.safetensors", {"a"});
  Json map = {{"a", "present.safetensors"}, {"b", "present.safetensors"}};
  for (int i = 0; i < 30; ++i) map[fmt::format("c{:02}", i)] = fmt::format("absent{:02}.safetensors", i);
  map["z"] = std::string(5000, 'n') + ".safetensors";
  index(map);
  std::string message = refused();
  EXPECT_THAT(message, AllOf(HasSubstr("32 missing"), HasSubstr("tensor \"b\" in present.safetensors"),
                             HasSubstr("absent08"), HasSubstr("…")));
  EXPECT_THAT(message, Not(HasSubstr("absent09")));
}

TEST_F(WeightSourceTest, RefusesDamagedIndexes) {
  for (const char* text :
       {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":["b"]}})", R"({"weight_map":{"a":1}})",
        R"({"weight_map":{"a":null}})", R"({"weight_map":"x"})", "{\"weight_map\":{\"\xff\":\"a\"}}"}) {
    test::write_text(dir / "model.safetensors.index.json", text);
    EXPECT_THAT(refused(), HasSubstr("model.safetensors.index.json")) << text;
  }
}

TEST_F(WeightSourceTest, AWrongTotalIsTold) {
  shard("s.safetensors", {"a"});
  for (const Json& total : {Json(-1), Json(1e300), Json(9), Json("8"), Json::array()}) {
    index({{"a", "s.safetensors"}}, {{"total_size", total}});
    WeightSource source = WeightSource::open_model(dir.path());
    ASSERT_EQ(source.notes().size(), 1u) << total;
    EXPECT_THAT(source.notes()[0], AllOf(HasSubstr("total_size"), HasSubstr("8 bytes")));
  }
}

TEST_F(WeightSourceTest, ManyNamesOnOneShardOpenItOnce) {
  std::vector<std::string> names;
  Json map = Json::object();
  for (int i = 0; i < 20'000; ++i) {
    names.push_back(fmt::format("t{}", i));
    map[names.back()] = "s.safetensors";
  }
  shard("s.safetensors", names);
  index(map);
  EXPECT_EQ(WeightSource::open_model(dir.path()).names().size(), names.size());
}

TEST_F(WeightSourceTest, Adapters) {
  EXPECT_THAT(refusal([&] { WeightSource::open_adapter(dir.path()); }), HasSubstr("no adapter weights"));
  std::filesystem::copy_file(test::golden_dir() / "formats/state_legacy.bin", dir / "adapter_model.bin");
  EXPECT_EQ(WeightSource::open_adapter(dir.path()).entry("f16").info.dtype, DType::kF16);
  shard("adapter_model.safetensors", {"lora"});
  EXPECT_THAT(WeightSource::open_adapter(dir.path()).names(), ::testing::ElementsAre("lora"));
}

TEST_F(WeightSourceTest, LinksOfADownloadCacheAreFollowed) {
  std::filesystem::create_directories(dir / "blobs");
  std::filesystem::create_directories(dir / "snapshot");
  shard("blobs/0123abcd", {"a"});
  std::filesystem::create_symlink("../blobs/0123abcd", dir / "snapshot/model.safetensors");
  EXPECT_TRUE(WeightSource::open_model(dir / "snapshot").has("a"));
}

}  // namespace
}  // namespace fettle
