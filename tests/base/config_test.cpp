#include "fettle/base/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>

#include "fettle/base/config/values.h"
#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "support.h"

namespace fettle {
namespace {

using testing::HasSubstr;
using Strings = std::vector<std::string>;

Config load(const Strings& words, const char* const* environment = nullptr) {
  return load_config(parse_config_arguments(words), environment);
}

Config load_yaml(const std::string& text, Strings words = {}, const char* const* environment = nullptr) {
  test::TempDir folder;
  test::write_text(folder / "run.yaml", text);
  words.insert(words.begin(), (folder / "run.yaml").string());
  return load(words, environment);
}

// The message and code of the error that `action` ends in.
std::pair<ExitCode, std::string> error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ExitCode::kInternal, "no error"};
}

std::string usage_error(const std::function<void()>& action) {
  auto [code, message] = error_of(action);
  EXPECT_EQ(code, ExitCode::kUsage) << message;
  return message;
}

std::string yaml_error(const std::string& text) {
  auto [code, message] = error_of([&] { parse_yaml_config(text, "run.yaml"); });
  EXPECT_EQ(code, ExitCode::kBadInput) << message;
  return message;
}

TEST(Schema, EveryOptionIsWellFormed) {
  EXPECT_GT(all_options().size(), 300u);
  for (const Option& option : all_options()) {
    SCOPED_TRACE(option.name);
    EXPECT_NO_THROW(default_value(option));
    EXPECT_FALSE(option.help.empty());
    EXPECT_EQ(option.reason.empty(), option.status == OptionStatus::kSupported);
    EXPECT_EQ(find_option(option.name), &option);
    for (std::string_view alias : option.aliases) EXPECT_EQ(find_option(alias), &option);
    if (option.type == OptionType::kChoice) {
      EXPECT_FALSE(option.choices.empty());
    }
    for (const RefusedChoice& choice : option.refused) EXPECT_FALSE(choice.reason.empty());
    if (option.common) {
      EXPECT_EQ(option.status, OptionStatus::kSupported);
    }
    // A default reads back to itself.
    const std::string line = fmt::format("{}: {}", option.name, yaml_text(option, default_value(option)));
    EXPECT_EQ(parse_option_value(option, parse_yaml_config(line, "test")[0].value, "test"),
              default_value(option));
  }
}

TEST(Schema, KnowsEveryKeyOfItsForebears) {
  const Json reference = read_json(test::golden_dir() / "base" / "training_arguments.json");
  for (const auto& [name, value] : reference["fields"].items()) {
    SCOPED_TRACE(name);
    const Option* option = find_option(name);
    ASSERT_TRUE(option);
    // Ours differ on purpose: see their help.
    if (option->name == "gradient_checkpointing" || option->name == "optim") continue;
    RawValue raw{};
    raw.kind = value.is_null() ? RawValue::Kind::kNull : RawValue::Kind::kPlain;
    raw.text = value.is_string() ? value.get<std::string>() : value.dump();
    if (value == "" || value == Json::array()) continue;
    EXPECT_EQ(parse_option_value(*option, raw, "test"), default_value(*option));
  }
  std::istringstream keys(test::read_text(test::golden_dir() / "base" / "known_keys.txt"));
  int count = 0;
  for (std::string line; std::getline(keys, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    for (std::string key; words >> key; ++count) EXPECT_TRUE(find_option(key)) << key;
  }
  EXPECT_GT(count, 250);
}

TEST(Config, DefaultsAreThoseOfLlamaFactoryAndTrainer) {
  const Config config = load({});
  EXPECT_EQ(config.get<int>("cutoff_len"), 2048);
  EXPECT_EQ(config.get<int>("lora_rank"), 8);
  EXPECT_EQ(config.get<double>("lora_alpha"), 16);
  EXPECT_EQ(config.get<int>("per_device_train_batch_size"), 8);
  EXPECT_EQ(config.get<double>("learning_rate"), 5e-5);
  EXPECT_EQ(config.get<std::string>("lr_scheduler_type"), "linear");
  EXPECT_EQ(config.get<int64_t>("max_steps"), -1);
  EXPECT_EQ(config.get<int64_t>("data_seed"), 42);
  EXPECT_EQ(config.get<std::string>("gradient_checkpointing"), "auto");
  EXPECT_EQ(config.get<Strings>("lora_target"), Strings{"all"});
  EXPECT_EQ(config.get<std::optional<int>>("max_samples"), std::nullopt);
  EXPECT_EQ(config.get<std::string>("model_name_or_path"), "");
  EXPECT_FALSE(config.is_set("lora_alpha"));
  EXPECT_EQ(config.origin("lora_alpha").kind, OriginKind::kDerived);
}

TEST(Config, AnExistingYamlRunsUnchanged) {
  const Config config = load_yaml(R"(### model
model_name_or_path: /models/qwen
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
lora_target: q_proj,v_proj

### dataset
dataset: identity, alpaca_en_demo
template: qwen
cutoff_len: 1024
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16
dataloader_num_workers: 4

### output
output_dir: saves/qwen/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none  # choices: [none, wandb, tensorboard, swanlab, mlflow]

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null

### eval
# eval_dataset: alpaca_en_demo
evaluation_strategy: no
per_device_eval_batch_size: 1
)");
  EXPECT_EQ(config.get<Strings>("dataset"), (Strings{"identity", "alpaca_en_demo"}));
  EXPECT_EQ(config.get<Strings>("lora_target"), (Strings{"q_proj", "v_proj"}));
  EXPECT_EQ(config.get<double>("learning_rate"), 1e-4);
  EXPECT_EQ(config.get<double>("lora_alpha"), 32);
  EXPECT_EQ(config.get<double>("warmup_ratio"), 0.1);
  EXPECT_TRUE(config.get<bool>("bf16"));
  EXPECT_EQ(config.get<std::optional<int>>("max_samples"), 1000);
  EXPECT_EQ(config.notes().size(), 2u);
  EXPECT_THAT(config.notes()[0], HasSubstr("evaluation_strategy is read as eval_strategy"));
  EXPECT_THAT(config.notes()[1], HasSubstr("preprocessing_num_workers"));
}

TEST(Config, ChoicesMayHaveShortSpellings) {
  EXPECT_EQ(load({"infer_dtype=bf16"}).get<std::string>("infer_dtype"), "bfloat16");
  EXPECT_EQ(load({"infer_dtype=fp16"}).get<std::string>("infer_dtype"), "float16");
}

TEST(Config, NumbersReadAsPeopleWriteThem) {
  EXPECT_EQ(load_yaml("learning_rate: 1e-4").get<double>("learning_rate"), 1e-4);
  EXPECT_EQ(load_yaml("learning_rate: .5").get<double>("learning_rate"), 0.5);
  EXPECT_EQ(load_yaml("learning_rate: +2E-5").get<double>("learning_rate"), 2e-5);
  EXPECT_EQ(load_yaml("num_train_epochs: 2").get<double>("num_train_epochs"), 2.0);
  EXPECT_EQ(load_yaml("lora_rank: \"4\"").get<int>("lora_rank"), 4);
}

TEST(Config, LastWordWins) {
  const char* environment[] = {"PATH=/bin", "FETTLE_SEED=3", "FETTLE_LORA_RANK=32", "FETTLE_CPU=avx2",
                               nullptr};
  const std::string yaml = "seed: 2\nlora_rank: 16\nlora_dropout: 0.1\n";
  const Config config =
      load_yaml(yaml, {"lora_rank=64", "--lora-dropout", "0.2", "--set", "lora_dropout=0.3"}, environment);
  EXPECT_EQ(config.get<int>("seed"), 3);
  EXPECT_EQ(config.origin("seed").text, "FETTLE_SEED");
  EXPECT_EQ(config.get<int>("lora_rank"), 64);
  EXPECT_EQ(config.origin("lora_rank").kind, OriginKind::kCommandLine);
  EXPECT_EQ(config.get<double>("lora_dropout"), 0.3);
  EXPECT_EQ(config.get<double>("lora_alpha"), 128);
  EXPECT_TRUE(config.is_set("seed"));
}

TEST(Config, OriginNamesFileAndLine) {
  const Config config = load_yaml("# first\nseed: 7\n");
  EXPECT_THAT(config.origin("seed").text, HasSubstr("run.yaml:2"));
}

TEST(Config, CommandLineForms) {
  const Config config =
      load({"--model", "m", "--bf16", "--plot-loss", "false", "--lr=1e-3", "max_steps=-1", "--max_samples",
            "5", "--adapter=a,b", "lora_target=[q_proj, \"v_proj\"]", "template=null"});
  EXPECT_EQ(config.get<std::string>("model_name_or_path"), "m");
  EXPECT_TRUE(config.get<bool>("bf16"));
  EXPECT_FALSE(config.get<bool>("plot_loss"));
  EXPECT_EQ(config.get<double>("learning_rate"), 1e-3);
  EXPECT_EQ(config.get<int>("max_steps"), -1);
  EXPECT_EQ(config.get<Strings>("adapter_name_or_path"), (Strings{"a", "b"}));
  EXPECT_EQ(config.get<Strings>("lora_target"), (Strings{"q_proj", "v_proj"}));
  EXPECT_EQ(config.get<std::optional<std::string>>("template"), std::nullopt);
  EXPECT_EQ(load({"--bf16", "--plot_loss"}).get<bool>("bf16"), true);
  EXPECT_EQ(parse_config_arguments({"--bf16", "runs/x=1.yaml"}).file, "runs/x=1.yaml")
      << "a flag takes no file";
}

TEST(Config, CommandLineErrors) {
  EXPECT_THAT(usage_error([] { load({"--lerning_rate", "1"}); }), HasSubstr("did you mean learning_rate?"));
  EXPECT_THAT(usage_error([] { load({"lora_rnk=1"}); }), HasSubstr("did you mean lora_rank?"));
  EXPECT_THAT(usage_error([] { load({"--learning_rate"}); }),
              HasSubstr("needs a value: a number from 0 to 100"));
  EXPECT_THAT(usage_error([] { load({"a.yaml", "b.yaml"}); }), HasSubstr("unexpected word \"b.yaml\""));
  EXPECT_THAT(usage_error([] { load({"--set", "learning_rate"}); }), HasSubstr("expected key=value"));
  EXPECT_THAT(usage_error([] { load({"--set"}); }), HasSubstr("needs key=value"));
  EXPECT_THAT(usage_error([] { load({"-x"}); }), HasSubstr("unknown option -x"));
  EXPECT_EQ(error_of([] { load({"/no/such/run.yaml"}); }).first, ExitCode::kBadInput);
}

TEST(Config, UnknownKeyNamesLineAndNeighbour) {
  const std::string message = usage_error([] { load_yaml("seed: 1\n\nleraning_rate: 1e-4\n"); });
  EXPECT_THAT(message, HasSubstr("run.yaml:3: unknown option leraning_rate; did you mean learning_rate?"));
}

TEST(Config, WrongValuesNameKeyValueAndRange) {
  const std::pair<const char*, const char*> cases[] = {
      {"learning_rate: fast", "learning_rate: found \"fast\", expected a number from 0 to 100"},
      {"learning_rate: nan", "found \"nan\""},
      {"learning_rate: inf", "found \"inf\""},
      {"learning_rate: .inf", "found \".inf\""},
      {"learning_rate: 1e400", "found \"1e400\""},
      {"learning_rate: -1", "from 0 to 100"},
      {"learning_rate: 0x10", "found \"0x10\""},
      {"learning_rate: null", "found null"},
      {"learning_rate: [1]", "found a list"},
      {"learning_rate: {a: 1}", "found a map"},
      {"per_device_train_batch_size: 0", "expected an integer from 1"},
      {"per_device_train_batch_size: 1000000000000000000", "expected an integer from 1"},
      {"per_device_train_batch_size: 99999999999999999999999", "expected an integer from 1"},
      {"lora_rank: 8.5", "expected an integer"},
      {"lora_rank: 1_000", "found \"1_000\""},
      {"lora_rank: 0o17", "found \"0o17\""},
      {"lora_rank: 1e3", "found \"1e3\""},
      {"lora_dropout: 1.0", "from 0 below 1"},
      {"lora_alpha: 0", "above 0"},
      {"bf16: yes", "bf16: found \"yes\", expected true or false"},
      {"bf16: on", "expected true or false"},
      {"bf16: 1", "expected true or false"},
      {"warmup_steps: 1.5", "an integer"},
      {"save_strategy: sometimes", "one of no, steps, epoch"},
      {"lr_scheduler_type: cosin", "did you mean cosine?"},
      {"lr_scheduler_type: greedy", "is refused, not available yet"},
      {"optim: lomo", "is refused, not available yet"},
      {"stage: dpo", "is refused, not available yet"},
      {"report_to: wandb", "wandb is refused"},
      {"lora_target: q_proj,,v_proj", "expected a list"},
      {"lora_target: [q_proj, [v_proj]]", "expected a list"},
      {"lr_scheduler_kwargs: 3", "expected a map"},
      {"lr_scheduler_kwargs: {a: {b: 1}}", "expected a map"},
      {"lr_scheduler_kwargs: '{broken'", "invalid JSON"},
      {"output_dir: /", "the root folder cannot be used"},
      {"output_dir: a/../b\nmodel_name_or_path: b/.", "is the folder of the base model"},
  };
  for (const auto& [text, expected] : cases) {
    SCOPED_TRACE(text);
    const std::string message = usage_error([text = text] { load_yaml(text); });
    EXPECT_THAT(message, HasSubstr(expected));
    EXPECT_THAT(message, testing::AnyOf(HasSubstr("run.yaml:1"), HasSubstr("run.yaml:2")));
  }
}

TEST(Config, RefusedOptionsTakeTheirDefaultOnly) {
  EXPECT_NO_THROW(load_yaml(
      "quantization_bit: null\npacking: false\nval_size: 0\neval_strategy: \"no\"\nnum_beams: 1\n"
      "resume_from_checkpoint: false\nexport_legacy_format: false\ndeepspeed: null\nadditional_target: null\n"
      "eval_dataset: []\nneftune_noise_alpha: 0\n"));
  const std::pair<const char*, const char*> cases[] = {
      {"quantization_bit: 3",
       "quantization_bit: 3 is refused, 4 and 8 bits in the layouts of bitsandbytes are known"},
      {"use_asft_loss: true", "is refused: not available yet"},
      {"report_to: [wandb]", "is refused"},
      {"num_beams: 4", "beam search"},
      {"deepspeed: ds.json", "one process"},
      {"deepspeed: {stage: 3}", "a map is refused"},
      {"use_llama_pro: true", "LLaMA Pro"},
      {"max_length: 512", "cutoff_len"},
      {"ignore_data_skip: true", "goes on where it was"},
      {"push_to_hub: true", "nothing leaves this machine"},
  };
  for (const auto& [text, expected] : cases) {
    SCOPED_TRACE(text);
    EXPECT_THAT(usage_error([text = text] { load_yaml(text); }), HasSubstr(expected));
  }
}

TEST(Config, ContradictionsNameBothSides) {
  EXPECT_THAT(usage_error([] {
                load({"bf16=true", "fp16=true"});
              }),
              HasSubstr("bf16: true (command line) and fp16: true"));
  EXPECT_THAT(usage_error([] {
                load({"mask_history=true", "train_on_prompt=true"});
              }),
              HasSubstr("contradict"));
  EXPECT_THAT(usage_error([] { load({"finetuning_type=full", "adapter=x"}); }), HasSubstr("contradict"));
  EXPECT_THAT(usage_error([] {
                load({"gradient_checkpointing=true", "disable_gradient_checkpointing=true"});
              }),
              HasSubstr("contradict"));
  auto recomputed = [](const std::string& word) {
    return load({word}).get<std::string>("gradient_checkpointing");
  };
  EXPECT_EQ(recomputed("disable_gradient_checkpointing=true"), "false");
  EXPECT_EQ(recomputed("gradient_checkpointing=selective"), "selective");
  EXPECT_EQ(recomputed("gradient_checkpointing=False"), "false");
  EXPECT_EQ(recomputed("gradient_checkpointing=True"), "true");
  EXPECT_THAT(usage_error([] { load_yaml("evaluation_strategy: no\neval_strategy: no\n"); }),
              HasSubstr("has set already"));
}

TEST(Config, SecretsAreNeitherShownNorWritten) {
  const Config config = load_yaml("hf_hub_token: hush\nswanlab_api_key: hush\n");
  EXPECT_THAT(config.to_yaml(true, true), testing::Not(HasSubstr("hush")));
  for (const std::string& note : config.notes()) EXPECT_THAT(note, testing::Not(HasSubstr("hush")));
}

TEST(Config, HostileTextIsTakenLiterally) {
  for (const char* text :
       {"; rm -rf ~", "$(id)", "-rf", "a\nb", "`x`", "..", "#x", "a: b", "null", "1e5", "\"", "深度"}) {
    const Config config = load({std::string("--run_name=") + text});
    if (std::string_view(text) != "null") {
      EXPECT_EQ(config.get<std::string>("run_name"), text);
    }
    // The written form reads back to the same text.
    EXPECT_EQ(load_yaml(config.to_yaml(false)).get<std::string>("run_name"),
              config.get<std::string>("run_name"))
        << text;
  }
}

TEST(Config, ResolvedYamlReadsBack) {
  const Config config = load(
      {"lora_rank=16", "learning_rate=5e-05", "lora_target=q_proj,v_proj", "warmup_steps=0.25",
       "save_steps=100", "lr_scheduler_kwargs={\"num_cycles\": 0.5, \"x\": \"y\"}", "dataset=\"a b\",c:d"});
  for (bool all : {false, true}) {
    const std::string text = config.to_yaml(all, true);
    const Config again = load_yaml(text);
    for (const Option& option : all_options()) {
      if (option.status == OptionStatus::kSupported) {
        EXPECT_EQ(again.value(option.name), config.value(option.name)) << option.name << "\n" << text;
      }
    }
  }
  EXPECT_THAT(config.to_yaml(false), testing::Not(HasSubstr("save_strategy"))) << "defaults are left out";
}

TEST(Config, StepsMayBeFractions) {
  const Config config = load({"save_steps=0.1", "logging_steps=7"});
  EXPECT_EQ(config.steps("save_steps", 101), 11);
  EXPECT_EQ(config.steps("logging_steps", 101), 7);
}

TEST(Config, RequireSaysWhatIsMissing) {
  const Config config = load({});
  EXPECT_THAT(usage_error([&] { config.require("model_name_or_path", "fettle train"); }),
              HasSubstr("fettle train needs model_name_or_path (Folder of the base model"));
}

TEST(Config, ObjectsKeepTheirTypes) {
  const Json kwargs =
      load_yaml("lr_scheduler_kwargs:\n  num_cycles: 2\n  min_lr: 1e-5\n  decay_type: \"1\"\n")
          .object("lr_scheduler_kwargs");
  EXPECT_EQ(kwargs, Json::parse(R"({"num_cycles": 2, "min_lr": 1e-5, "decay_type": "1"})"));
  EXPECT_TRUE(load({}).object("lr_scheduler_kwargs").is_null());
}

TEST(ConfigFile, HostileYamlIsRefusedQuickly) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(yaml_error("a: &x 1\nb: *x\n"), HasSubstr("run.yaml:1: YAML anchors"));
  EXPECT_THAT(yaml_error("a: &x [*x]\n"), HasSubstr("anchors"));
  EXPECT_THAT(yaml_error("a: *x\n"), HasSubstr("run.yaml:1"));
  EXPECT_THAT(yaml_error("a: !!python/object:os.system x\n"), HasSubstr("tag"));
  EXPECT_THAT(yaml_error("a: !!python/object {x: 1}\n"), HasSubstr("tag"));
  EXPECT_THAT(yaml_error("a: !custom [1]\n"), HasSubstr("tag"));
  EXPECT_THAT(yaml_error("a: " + std::string(100, '[') + std::string(100, ']')), HasSubstr("deeper than 64"));
  EXPECT_THAT(yaml_error("a: " + std::string(100000, '[')), HasSubstr("run.yaml:1"));
  EXPECT_THAT(yaml_error("a: " + std::string(100000, '{')), HasSubstr("run.yaml:1"));
  std::string dashes;
  for (int i = 0; i < 100000; ++i) dashes += "- ";
  EXPECT_THAT(yaml_error(dashes), HasSubstr("found a list"));
  EXPECT_THAT(yaml_error("a:\n " + dashes), HasSubstr("deeper than 64"));
  EXPECT_THAT(yaml_error("seed: 1\nx: 2\nseed: 3\n"),
              HasSubstr("run.yaml:3: the key seed is given twice (first on line 1)"));
  EXPECT_THAT(yaml_error("a: {b: 1, b: 2}\n"), HasSubstr("given twice"));
  EXPECT_THAT(yaml_error("a: 1\n---\nb: 1\n"), HasSubstr("second document"));
  EXPECT_THAT(yaml_error("- a\n"), HasSubstr("found a list"));
  EXPECT_THAT(yaml_error("just words"), HasSubstr("expected `key: value`"));
  EXPECT_THAT(yaml_error("a: [1\n"), HasSubstr("run.yaml:"));
  EXPECT_THAT(yaml_error("\tb: 1\n"), HasSubstr("run.yaml:1"));
  EXPECT_THAT(yaml_error("a: \"\\x\"\n"), HasSubstr("invalid YAML"));
  EXPECT_THAT(yaml_error("? [a]\n: b\n"), HasSubstr("expected a key"));
  EXPECT_THAT(yaml_error(std::string("a: b\0c\n", 7)), HasSubstr("NUL"));
  EXPECT_THAT(yaml_error("a: \"\\0\"\n"), HasSubstr("NUL"));
  EXPECT_THAT(yaml_error("a: \xff\n"), HasSubstr("not UTF-8"));
  EXPECT_THAT(yaml_error("a: \xed\xa0\x80\n"), HasSubstr("not UTF-8"));
  std::string laughs = "a0: &a0 [x]\n";
  for (int i = 1; i < 10; ++i) laughs += fmt::format("a{}: &a{} [*a{}, *a{}]\n", i, i, i - 1, i - 1);
  EXPECT_THAT(yaml_error(laughs), HasSubstr("anchors"));
  std::string many;
  for (int i = 0; i < 100000; ++i) many += fmt::format("k{}: 1\n", i);
  EXPECT_THAT(yaml_error(many), HasSubstr("more than 4096 keys"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

// Whatever stands in a file, reading ends in values or in one Error.
TEST(ConfigFile, RandomlyDamagedFilesNeverCrash) {
  const std::string seed =
      "# c\nlora_rank: 16\nlora_target: [q_proj, 'v_proj', \"a\\n\"]\nlr_scheduler_kwargs: {num_cycles: "
      "0.5}\n"
      "dataset:\n  - a\n  - b\nrun_name: |\n  text\n  more\ntemplate: >-\n  x\n? seed\n: 1e-4\n---\n...\n";
  const std::string_view marks = "&*!|>%@`{}[],:?-#'\"\\ \t\n~<=.019ax\x80\xff";
  RandomStream random(RandomKey{.seed = 1, .use = RandomUse::kSynthetic});
  for (int round = 0; round < 5000; ++round) {
    std::string text = seed;
    for (uint64_t edits = 1 + random.below(8); edits > 0; --edits) {
      const size_t at = random.below(text.size());
      switch (random.below(3)) {
        case 0:
          text[at] = marks[random.below(marks.size())];
          break;
        case 1:
          text.insert(at, 1 + random.below(3), marks[random.below(marks.size())]);
          break;
        default:
          text.erase(at, 1 + random.below(10));
          break;
      }
      if (text.empty()) text = ":";
    }
    try {
      for (const RawEntry& item : parse_yaml_config(text, "x"))
        if (const Option* option = find_option(item.key)) parse_option_value(*option, item.value, "x");
    } catch (const Error&) {
    }
    try {
      parse_json_config(text, "x");
    } catch (const Error&) {
    }
  }
}

TEST(ConfigFile, EmptyAndCommentOnlyFilesAreDefaults) {
  EXPECT_TRUE(parse_yaml_config("", "x").empty());
  EXPECT_TRUE(parse_yaml_config("# nothing\n", "x").empty());
  EXPECT_TRUE(parse_yaml_config("---\n", "x").empty());
}

TEST(ConfigFile, BigFilesAreRefused) {
  test::TempDir folder;
  test::write_text(folder / "run.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(error_of([&] { read_config_file(folder / "run.yaml"); }).second, HasSubstr("limit"));
}

TEST(ConfigFile, JsonReadsLikeYaml) {
  test::TempDir folder;
  test::write_text(
      folder / "run.json",
      "{\n  \"lora_rank\": 16,\n  \"learning_rate\": 1e-4, \"bf16\": true,\n"
      "  \"lora_target\": [\"q_proj\", \"v_proj\"], \"template\": \"\\u6df1\\ud83d\\ude00\"\n}\n");
  const Config config = load({(folder / "run.json").string()});
  EXPECT_EQ(config.get<int>("lora_rank"), 16);
  EXPECT_EQ(config.get<Strings>("lora_target"), (Strings{"q_proj", "v_proj"}));
  EXPECT_EQ(config.get<std::string>("template"), "深😀");
  EXPECT_THAT(config.origin("bf16").text, HasSubstr("run.json:3"));
  auto refuse = [](const std::string& text) {
    auto [code, message] = error_of([&] { parse_json_config(text, "run.json"); });
    EXPECT_EQ(code, ExitCode::kBadInput);
    return message;
  };
  EXPECT_THAT(refuse("{\"a\": 1,\n\"a\": 2}"), HasSubstr("run.json:2: the key a is given twice"));
  EXPECT_THAT(refuse("{\"a\": 1,\n\"\\u0061\": 2}"), HasSubstr("given twice"));
  EXPECT_THAT(refuse("[1]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(refuse("{\"a\": " + std::string(100000, '[')), HasSubstr("deeper than 64"));
  EXPECT_THAT(refuse("{\"a\": 1} x"), HasSubstr("invalid JSON"));
  test::write_text(folder / "bad.json", "{\n\n\"sed\": 1}");
  EXPECT_THAT(usage_error([&] { load({(folder / "bad.json").string()}); }),
              HasSubstr("bad.json:3: unknown option sed"));
}

}  // namespace
}  // namespace fettle
