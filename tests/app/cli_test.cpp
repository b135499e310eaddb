#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support.h"

namespace fettle::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

TEST(CommandLine, WithoutWordsSaysWhatItIs) {
  const ProcessResult result = run_fettle({});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, HasSubstr("fettle train run.yaml"));
  EXPECT_THAT(result.err, IsEmpty());
}

TEST(CommandLine, UnknownCommandsSuggestTheNearest) {
  ProcessResult result = run_fettle({"versoin"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_EQ(result.err,
            "error: unknown command \"versoin\", did you mean `fettle version`?; `fettle --help` lists the "
            "commands\n");
  result = run_fettle({"-q", "config", "shw"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("did you mean `fettle config show`?"));
  EXPECT_EQ(run_fettle({"\x1b[31m"}).err.find('\x1b'), std::string::npos) << "outside text is escaped";
}

TEST(CommandLine, WrongFlagsExitTwo) {
  EXPECT_THAT(run_fettle({"version", "--foo"}).err, HasSubstr("see `fettle version --help`"));
  EXPECT_EQ(run_fettle({"version", "--foo"}).code, 2);
  EXPECT_EQ(run_fettle({"version", "foo"}).code, 2);
  EXPECT_EQ(run_fettle({"config"}).code, 2);
  EXPECT_EQ(run_fettle({"config", "explain"}).code, 2);
  EXPECT_EQ(run_fettle({"--foo"}).code, 2);
}

TEST(CommandLine, HelpForEveryCommand) {
  const ProcessResult root = run_fettle({"--help"});
  EXPECT_EQ(root.code, 0);
  for (const char* command : {"version", "doctor", "config", "completion"}) {
    SCOPED_TRACE(command);
    EXPECT_THAT(root.out, HasSubstr(std::string("\n  ") + command + " "));
    const ProcessResult help = run_fettle({command, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.out, HasSubstr(std::string("Usage: fettle ") + command));
    EXPECT_THAT(help.out, HasSubstr("--no-color"));
  }
  const ProcessResult common = run_fettle({"config", "show", "--help"});
  EXPECT_THAT(common.out, HasSubstr("--lora_rank N"));
  EXPECT_THAT(common.out, Not(HasSubstr("--adam_beta1")));
  const ProcessResult all = run_fettle({"config", "show", "--help-all"});
  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(all.out, HasSubstr("--adam_beta1 X"));
}

TEST(CommandLine, ClosedOutputEndsQuietly) {
  const ProcessResult result = run_program(
      "/bin/bash",
      {"-c", fettle_binary().string() + " config keys --all --json | head -1; echo ${PIPESTATUS[0]}"});
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.out, testing::AnyOf(HasSubstr("\n141\n"), HasSubstr("\n0\n")));
}

TEST(CommandLine, OutputThatCannotBeWrittenIsAnError) {
  for (const char* words : {" version", " --help"}) {
    const ProcessResult result =
        run_program("/bin/bash", {"-c", fettle_binary().string() + words + " > /dev/full"});
    EXPECT_EQ(result.code, 4);
    EXPECT_THAT(result.err, HasSubstr("cannot write to standard output"));
  }
}

TEST(Version, NamesVersionAndCpuPath) {
  const ProcessResult result = run_fettle({"version"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, StartsWith("fettle "));
  EXPECT_THAT(result.out, HasSubstr("\ncpu path: "));
}

TEST(Doctor, DescribesTheMachine) {
  const ProcessResult text = run_fettle({"doctor"});
  EXPECT_EQ(text.code, 0);
  for (const char* name : {"processor", "instruction sets", "compute path", "cores", "memory", "disk here"})
    EXPECT_THAT(text.out, HasSubstr(name));
  const auto json = nlohmann::json::parse(run_fettle({"doctor", "--json"}).out);
  EXPECT_TRUE(json["memory"]["value"].is_string());
}

TEST(ConfigCommand, ShowResolvesInOrder) {
  TempDir folder;
  write_text(folder / "run.yaml", "lora_rank: 16\nlearning_rate: 1e-4\nseed: 1\n");
  const std::string file = (folder / "run.yaml").string();
  const ProcessResult result =
      run_fettle({"config", "show", file, "learning_rate=2e-4", "--origin"}, {"FETTLE_SEED=7"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("lora_rank: 16"));
  EXPECT_THAT(result.out, HasSubstr(file + ":1"));
  EXPECT_THAT(result.out, HasSubstr("learning_rate: 0.0002"));
  EXPECT_THAT(result.out, HasSubstr("# command line"));
  EXPECT_THAT(result.out, HasSubstr("# FETTLE_SEED"));
  EXPECT_THAT(result.out, Not(HasSubstr("save_steps")));
  EXPECT_THAT(run_fettle({"config", "show", "--all"}).out, HasSubstr("save_steps: 500\n"));
}

TEST(ConfigCommand, WhatShowPrintsReadsBack) {
  TempDir folder;
  const std::vector<std::string> words = {"lora_target=q_proj,v_proj", "learning_rate=3e-5",
                                          "run_name=a: b #c"};
  std::vector<std::string> first = {"config", "show"};
  first.insert(first.end(), words.begin(), words.end());
  const std::string yaml = run_fettle(first).out;
  write_text(folder / "again.yaml", yaml);
  EXPECT_EQ(run_fettle({"config", "show", (folder / "again.yaml").string()}).out, yaml);
}

TEST(ConfigCommand, ValidateFindsErrors) {
  TempDir folder;
  const std::string file = (folder / "run.yaml").string();
  write_text(file, "lora_rank: 16\n");
  EXPECT_EQ(run_fettle({"config", "validate", file}).code, 0);
  EXPECT_THAT(run_fettle({"-q", "config", "validate", file}).err, IsEmpty());
  EXPECT_THAT(run_fettle({"config", "validate", "-q", file}).err, IsEmpty());
  write_text(file, "lora_rank: 16\nlora_rnk: 3\n");
  ProcessResult result = run_fettle({"config", "validate", file});
  EXPECT_EQ(result.code, 2);
  EXPECT_EQ(result.err, "error: " + file + ":2: unknown option lora_rnk; did you mean lora_rank?\n");
  write_text(file, "a: &x 1\n");
  EXPECT_EQ(run_fettle({"config", "validate", file}).code, 3);
  EXPECT_EQ(run_fettle({"config", "validate", (folder / "absent.yaml").string()}).code, 3);
  EXPECT_EQ(run_fettle({"config", "validate", folder.path().string()}).code, 3);
}

TEST(ConfigCommand, ExplainKnowsAliasesAndReasons) {
  const ProcessResult result = run_fettle({"config", "explain", "use_asft_loss", "lora-rank"});
  EXPECT_EQ(result.code, 0);
  EXPECT_THAT(result.out, StartsWith("use_asft_loss\n"));
  EXPECT_THAT(result.out, HasSubstr("because   not available yet"));
  EXPECT_THAT(result.out, HasSubstr("an integer from 1 to 65536"));
  const ProcessResult unknown = run_fettle({"config", "explain", "lora_rank", "lora_alfa"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean lora_alpha?"));
}

TEST(ConfigCommand, KeysListsTheSchema) {
  EXPECT_THAT(run_fettle({"config", "keys", "warmup"}).out, StartsWith("warmup_ratio"));
  std::istringstream lines(run_fettle({"config", "keys", "--all", "--json"}).out);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count)
    EXPECT_TRUE(nlohmann::json::parse(line)["name"].is_string());
  EXPECT_GT(count, 300);
}

TEST(ConfigCommand, TheCommittedReferenceIsCurrent) {
  const ProcessResult result = run_fettle({"config", "docs"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, read_text(source_dir() / "docs" / "reference" / "options.md"))
      << "run: fettle config docs --output docs/reference/options.md";
  TempDir folder;
  run_fettle({"config", "docs", "--output", (folder / "page.md").string()});
  EXPECT_EQ(read_text(folder / "page.md"), result.out);
}

// Completes the words of a line by the generated bash script.
std::string complete_in_bash(const std::string& words, int current) {
  const std::string script = "source <(" + fettle_binary().string() + " completion bash); COMP_WORDS=(" +
                             words + "); COMP_CWORD=" + std::to_string(current) +
                             "; _fettle; echo \"${COMPREPLY[@]}\"";
  return run_program("/bin/bash", {"-c", script}).out;
}

TEST(Completion, BashCompletesCommandsKeysAndValues) {
  EXPECT_EQ(complete_in_bash("fettle vers", 1), "version\n");
  EXPECT_EQ(complete_in_bash("fettle config va", 2), "validate\n");
  EXPECT_EQ(complete_in_bash("fettle config show --lora_ra", 3), "--lora_rank\n");
  EXPECT_EQ(complete_in_bash("fettle config show use_rsl", 3), "use_rslora=\n");
  EXPECT_EQ(complete_in_bash("fettle config show bf16 = t", 5), "true\n");
  EXPECT_EQ(complete_in_bash("fettle config show bf16 =", 4), "true false\n");
  EXPECT_EQ(complete_in_bash("fettle config show --lr_scheduler_type cosine_with_m", 4),
            "cosine_with_min_lr\n");
  EXPECT_EQ(complete_in_bash("fettle doctor --js", 2), "--json\n");
}

TEST(Completion, EveryShellHasAScript) {
  EXPECT_THAT(run_fettle({"completion", "zsh"}).out, StartsWith("#compdef fettle\n"));
  EXPECT_THAT(run_fettle({"completion", "fish"}).out, HasSubstr("complete -c fettle"));
  EXPECT_EQ(run_fettle({"completion", "tcsh"}).code, 2);
}

}  // namespace
}  // namespace fettle::test
