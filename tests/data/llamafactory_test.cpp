// Conversions, budgets, labels and blocks against LLaMA-Factory's own.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fakes.h"
#include "fettle/base/json.h"
#include "fettle/data/dataset.h"
#include "fettle/data/encode.h"
#include "fettle/data/forms/forms.h"
#include "fettle/data/packing.h"
#include "support.h"

namespace fettle {
namespace {

using Ids = std::vector<int32_t>;

const Json& answers() {
  static const Json json = read_json(test::golden_dir() / "data" / "llamafactory.json");
  return json;
}

TEST(LlamaFactory, Budgets) {
  for (const Json& c : answers()["budgets"]) {
    auto [source, target] = split_budget(c[0], c[1], c[2]);
    EXPECT_EQ(std::make_pair(source, target), std::make_pair(c[3].get<int64_t>(), c[4].get<int64_t>()))
        << c.dump();
  }
}

TEST(LlamaFactory, IdsAndLabels) {
  for (const Json& c : answers()["encodings"]) {
    std::vector<EncodedTurn> turns;
    for (const Json& pair : c["pairs"]) turns.push_back({pair[0].get<Ids>(), pair[1].get<Ids>()});
    test::PairTemplate chat(turns, c["efficient_eos"]);
    EncodedExample encoded = encode_conversation(chat, {},
                                                 {.cutoff_len = c["cutoff_len"],
                                                  .train_on_prompt = c["train_on_prompt"],
                                                  .mask_history = c["mask_history"]});
    EXPECT_EQ(encoded.example.ids, c["ids"].get<Ids>()) << c.dump();
    EXPECT_EQ(encoded.example.labels, c["labels"].get<Ids>()) << c.dump();
  }
}

TEST(LlamaFactory, PreferencePairs) {
  // Gives the two sides in turn.
  class Sides final : public test::PlainTemplate {
   public:
    explicit Sides(const Json& c) : case_(c) {}
    EncodedTurn encode_oneturn(const Conversation& side) const override {
      return {case_["question"].get<Ids>(), case_["answers"][side.system == "chosen" ? 0 : 1].get<Ids>()};
    }
    bool efficient_eos() const override { return case_["efficient_eos"]; }

   private:
    const Json& case_;
  };
  for (const Json& c : answers()["preference_pairs"]) {
    PreferencePair pair;
    pair.chosen.system = "chosen";
    EncodedExample encoded = encode_pair(Sides(c), pair, c["cutoff_len"], Truncation::kTurns);
    std::vector<Example> sides = encoded.example.samples();
    ASSERT_EQ(sides.size(), 2u);
    EXPECT_EQ(sides[0].ids, c["chosen_input_ids"].get<Ids>()) << c.dump();
    EXPECT_EQ(sides[0].labels, c["chosen_labels"].get<Ids>()) << c.dump();
    EXPECT_EQ(sides[1].ids, c["rejected_input_ids"].get<Ids>()) << c.dump();
    EXPECT_EQ(sides[1].labels, c["rejected_labels"].get<Ids>()) << c.dump();
  }
}

TEST(LlamaFactory, Conversions) {
  const std::map<Role, std::string> names = {{Role::kUser, "user"},
                                             {Role::kAssistant, "assistant"},
                                             {Role::kObservation, "observation"},
                                             {Role::kFunction, "function"}};
  for (const Json& c : answers()["conversions"]) {
    test::TempDir dir;
    Json entry = c["entry"];
    entry["file_name"] = "x.json";
    test::write_text(dir / "x.json", Json::array({c["row"]}).dump());
    test::write_text(dir / "dataset_info.json", Json{{"x", entry}}.dump());
    DatasetEntry info = find_dataset(dir.path(), "x");
    Record record = read_records(info.path)[0];
    Form form = info.formatting.empty() ? Form::kAlpaca : detect_form(info, record);
    if (c.contains("dropped")) {
      EXPECT_THROW(to_conversation(form, info, record.value), BadRow) << c.dump();
      continue;
    }
    try {
      Conversation conversation = to_conversation(form, info, record.value);
      EXPECT_EQ(conversation.system, c["system"].get<std::string>()) << c.dump();
      ASSERT_EQ(conversation.messages.size(), c["messages"].size()) << c.dump();
      for (size_t i = 0; i < conversation.messages.size(); ++i) {
        const Message& message = conversation.messages[i];
        EXPECT_EQ(names.at(message.role), c["messages"][i]["role"].get<std::string>()) << c.dump();
        std::string expected = c["messages"][i]["content"];
        if (message.role == Role::kFunction)
          EXPECT_EQ(Json::parse(message.content), Json::parse(expected));
        else
          EXPECT_EQ(message.content, expected);
      }
      std::string tools = c["tools"];
      if (tools.empty())
        EXPECT_EQ(conversation.tools, "");
      else
        EXPECT_EQ(Json::parse(conversation.tools), Json::parse(tools));
    } catch (const BadRow& bad) {
      ADD_FAILURE() << bad.reason << ": " << c.dump();
    }
  }
}

TEST(LlamaFactory, Knapsacks) {
  for (const Json& c : answers()["knapsacks"]) {
    std::vector<int64_t> lengths = c["lengths"];
    std::vector<std::vector<int64_t>> groups = best_fit_groups(lengths, c["capacity"]);
    for (auto& group : groups)
      for (int64_t& row : group) row = lengths[static_cast<size_t>(row)];
    EXPECT_EQ(groups, c["groups"].get<std::vector<std::vector<int64_t>>>());
  }
}

TEST(LlamaFactory, BlocksOfText) {
  for (const Json& c : answers()["blocks"]) {
    test::TempDir dir;
    std::string lines;
    for (const Json& text : c["texts"]) lines += Json{{"text", text}}.dump() + "\n";
    test::write_text(dir / "x.jsonl", lines);
    test::write_text(dir / "tokenizer_config.json",
                     Json{{"tokenizer_class", "LlamaTokenizer"}, {"add_bos_token", c["add_bos"]}}.dump());
    DatasetRequest request;
    request.datasets = {(dir / "x.jsonl").string()};
    request.stage = "pt";
    request.packing = c["packing"].get<bool>();
    request.cutoff_len = c["cutoff_len"];
    request.vocab_size = 266;
    request.tokenizer = std::make_shared<test::ByteTokenizer>(
        std::vector<std::filesystem::path>{dir / "tokenizer_config.json"});
    Dataset data = load_dataset(request);
    std::vector<Ids> ids;
    for (const Example& example : data.examples) ids.push_back(example.ids);
    EXPECT_EQ(ids, c["ids"].get<std::vector<Ids>>()) << c.dump();
  }
}

}  // namespace
}  // namespace fettle
