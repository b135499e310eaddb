// fettle chat: a conversation on the terminal.
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/infer/generation_config.h"
#include "fettle/kernels/backend.h"
#include "fettle/train/stop_signal.h"

namespace fettle::app {
namespace {

struct Flags {
  ModelFlags model;
  std::string system;
  std::vector<std::string> messages;
  int64_t max_new_tokens = 0;
  bool greedy = false;
};

constexpr const char* kHelp =
    "/system TEXT   set the system prompt and start over\n"
    "/clear         forget the conversation\n"
    "/retry         answer the last message again\n"
    "/adapter       list the adapters and those in use\n"
    "/adapter NAME [WEIGHT] …   use these alone; none: the base model\n"
    "/load DIR      load another adapter, /unload NAME drops one\n"
    "/help          this list\n"
    "/exit          leave (also Ctrl-D)\n";

class Chat {
 public:
  Chat(const Flags& flags, const CLI::App& command) : config_(flags.model.config(command, "fettle chat")) {
    session_ = open_session(config_, true);
    chat_ = open_template(config_, session_);
    assistant_ = std::make_unique<Assistant>(*session_.model, cpu_backend(), session_.compute,
                                             session_.tokenizer, chat_);
    options_ = generation_options(config_);
    if (flags.greedy) options_.sampling.do_sample = false;
    if (flags.max_new_tokens > 0) options_.max_new_tokens = flags.max_new_tokens;
    conversation_.system = flags.system;
    if (conversation_.system.empty())
      conversation_.system = config_.get<std::optional<std::string>>("default_system").value_or("");
  }

  void answer(const std::string& message) {
    conversation_.messages.push_back({Role::kUser, message});
    StopSignal interrupt;  // Ctrl-C ends the answer, a second one the program
    interrupt.hold();
    Answer answer = assistant_->reply(conversation_, options_, [](const std::string& piece) {
      fmt::print("{}", piece);
      std::fflush(stdout);
      return !StopSignal::requested();
    });
    fmt::print("\n");
    conversation_.messages.push_back({Role::kAssistant, answer.text});
    say_detail("{:.1f} tokens/s", static_cast<double>(answer.generation.ids.size()) /
                                      std::max(answer.generation.decode_seconds, 1e-9));
    if (answer.generation.reason == FinishReason::kLength)
      say("{}", styled(fmt::format("(cut at {} tokens; raise max_new_tokens)", options_.max_new_tokens),
                       Style::kDim, stderr));
    ++turn_;
    options_.sampling.seed =
        static_cast<uint64_t>(config_.get<int64_t>("seed")) + static_cast<uint64_t>(turn_);
  }

  /// False ends the chat.
  bool command(const std::string& line) {
    if (line == "/exit" || line == "/quit") return false;
    if (line == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else if (line == "/clear") {
      conversation_.messages.clear();
    } else if (line.starts_with("/system")) {
      conversation_.system = line.size() > 8 ? line.substr(8) : "";
      conversation_.messages.clear();
    } else if (line.starts_with("/adapter") || line.starts_with("/load ") || line.starts_with("/unload ")) {
      adapter_command(line);
    } else if (line == "/retry") {
      if (conversation_.messages.size() < 2) return true;
      std::string last = conversation_.messages[conversation_.messages.size() - 2].content;
      conversation_.messages.resize(conversation_.messages.size() - 2);
      answer(last);
    } else {
      say("unknown command {}; /help lists them", printable(line));
    }
    return true;
  }

  void talk() {
    bool terminal = is_terminal(stdin);
    if (terminal)
      say("{} · {} · {} · /help for commands", config_.get<std::string>("model_name_or_path"), chat_->name(),
          dtype_name(session_.compute));
    std::string line;
    while (true) {
      if (terminal) {
        fmt::print("\n{} ", styled("you:", Style::kCyan, stdout));
        std::fflush(stdout);
      }
      if (!std::getline(std::cin, line)) break;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.find_first_not_of(" \t") == line.npos) continue;
      if (line[0] == '/' ? !command(line) : (answer(line), false)) break;
    }
    if (terminal) fmt::print("\n");
  }

 private:
  // A mistake here does not end the conversation.
  void adapter_command(const std::string& line) {
    std::istringstream words(line);
    std::string command, word;
    words >> command;
    AdapterSet& adapters = *session_.adapters;
    try {
      if (command == "/load" && words >> word) {
        std::filesystem::path folder = std::filesystem::path(word).lexically_normal();
        std::string name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
        adapters.load(name, word);
        say("{} loaded: {}; /adapter {} uses it", name, adapters.at(name).description(), name);
      } else if (command == "/unload" && words >> word) {
        adapters.unload(word);
        assistant_->forget();
      } else if (command == "/adapter" && words >> word) {
        std::vector<AdapterSet::Choice> choices;
        if (word != "none") do {
            double weight = 0;
            auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), weight);
            if (error == std::errc() && end == word.data() + word.size() && !choices.empty())
              choices.back().weight = weight;
            else
              choices.push_back({word});
          } while (words >> word);
        adapters.use(choices);
        assistant_->forget();
      } else {
        for (const std::string& name : adapters.names()) {
          std::string state;
          for (const AdapterSet::Choice& choice : adapters.in_use())
            if (choice.name == name) state = fmt::format(", in use, weight {}", choice.weight);
          say("{}: {}{}", name, adapters.at(name).description(), state);
        }
        if (adapters.empty()) say("no adapter is loaded");
      }
    } catch (const Error& error) {
      say("{}", error.what());
    }
  }

  Config config_;
  Session session_;
  std::shared_ptr<const ChatTemplate> chat_;
  std::unique_ptr<Assistant> assistant_;
  GenerationOptions options_;
  Conversation conversation_;
  int64_t turn_ = 0;
};

}  // namespace

void add_chat(CLI::App& root) {
  CLI::App& command = add_command(root, "chat", "Talk to a model, with or without an adapter", "Use a model");
  auto flags = std::make_shared<Flags>();
  flags->model.declare(command);
  command.add_option("-s,--system", flags->system, "System prompt")->type_name("TEXT");
  command.add_option("--message", flags->messages, "Say this and leave; repeat for several turns")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command.add_option("-n,--max-new-tokens", flags->max_new_tokens, "Longest answer in tokens")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20));
  command.add_flag("--greedy", flags->greedy,
                   "Always the likeliest token; default: sampling as LLaMA-Factory does");
  command.callback([flags, &command] {
    Chat chat(*flags, command);
    for (const std::string& message : flags->messages) chat.answer(message);
    if (flags->messages.empty()) chat.talk();
  });
}

}  // namespace fettle::app
