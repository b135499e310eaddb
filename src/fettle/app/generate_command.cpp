// fettle generate: one prompt, or a JSON-lines file of prompts or conversations.
#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/infer/batch_generator.h"
#include "fettle/infer/generation_config.h"
#include "fettle/kernels/backend.h"

namespace fettle::app {
namespace {

struct Flags {
  ModelFlags model;
  std::vector<std::string> prompts;
  std::string file, system, output;
  int64_t max_new_tokens = 0, top_k = -1;
  double temperature = -1, top_p = -1, repetition_penalty = -1;
  int64_t seed = -1;
  int64_t batch = 1;
  bool raw = false, sample = false, compare = false;
};

struct Request {
  Conversation conversation;
  std::string raw;                                   ///< with --raw
  std::vector<TokenId> ids;                          ///< an {"input_ids"} row
  std::string label;                                 ///< shown before the answer
  std::optional<std::vector<std::string>> adapters;  ///< of a row that names its own
};

std::vector<std::string> adapter_names(const Json& value, const std::string& where) {
  std::vector<std::string> names;
  for (const Json& name : value.is_array() ? value : value.is_null() ? Json::array() : Json::array({value})) {
    if (!name.is_string()) fail_input("{}: adapter must be a name, a list of names or null", where);
    names.push_back(name);
  }
  return names;
}

Request from_row(const Json& row, const std::string& where, const Flags& flags) {
  Request request;
  if (row.is_object() && row.contains("adapter")) request.adapters = adapter_names(row["adapter"], where);
  request.conversation.system = flags.system;
  if (row.is_object() && row.contains("input_ids")) {
    for (const Json& id : row["input_ids"]) {
      if (!id.is_number_integer()) fail_input("{}: input_ids must hold whole numbers", where);
      request.ids.push_back(id.get<TokenId>());
    }
    request.label = fmt::format("{} ids", request.ids.size());
    return request;
  }
  if (row.is_object() && row.contains("messages") && row["messages"].is_array()) {
    for (const Json& message : row["messages"]) {
      if (!message.is_object() || !message.value("content", Json()).is_string())
        fail_input("{}: every message needs a role and a content", where);
      std::string role = message.value("role", ""), content = message["content"];
      if (role == "system")
        request.conversation.system = content;
      else if (role == "user")
        request.conversation.messages.push_back({Role::kUser, content});
      else if (role == "assistant")
        request.conversation.messages.push_back({Role::kAssistant, content});
      else
        fail_input("{}: role \"{}\", expected system, user or assistant", where, printable(role));
    }
    if (request.conversation.messages.empty() || request.conversation.messages.back().role != Role::kUser)
      fail_input("{}: the last message must be the user's", where);
    request.label = request.conversation.messages.back().content;
    return request;
  }
  std::string prompt;
  if (row.is_string())
    prompt = row;
  else if (row.is_object() && row.value("prompt", Json()).is_string())
    prompt = row["prompt"];
  else
    fail_input("{}: expected {{\"prompt\": …}}, {{\"messages\": […]}} or {{\"input_ids\": […]}}", where);
  request.label = request.raw = prompt;
  request.conversation.messages.push_back({Role::kUser, prompt});
  return request;
}

std::vector<Request> read_requests(const Flags& flags) {
  std::vector<Request> requests;
  for (const std::string& prompt : flags.prompts)
    requests.push_back(from_row(Json(prompt), "--prompt", flags));
  if (!flags.file.empty()) {
    std::string text = read_file(flags.file);
    int64_t line = 0;
    for (size_t begin = 0; begin < text.size();) {
      size_t end = std::min(text.find('\n', begin), text.size());
      std::string_view row(text.data() + begin, end - begin);
      begin = end + 1;
      ++line;
      if (row.find_first_not_of(" \t\r") == row.npos) continue;
      std::string where = fmt::format("{}:{}", flags.file, line);
      requests.push_back(from_row(parse_json(row, where), where, flags));
    }
  }
  if (requests.empty()) fail_usage("fettle generate: give --prompt TEXT or a JSONL file with --file");
  return requests;
}

std::vector<TokenId> prompt_ids(const Request& request, const Assistant& assistant, bool raw) {
  if (!request.ids.empty()) return request.ids;
  return raw ? assistant.text_prompt(request.raw) : assistant.chat_prompt(request.conversation);
}

const char* reason_name(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : reason == FinishReason::kLength ? "length" : "cancelled";
}

void print_side_by_side(const std::string& prompt, const std::string& before, const std::string& after) {
  int width = std::max(24, (std::min(terminal_columns(stdout), 120) - 3) / 2);
  auto lines = [&](const std::string& text) {
    std::vector<std::string> out;
    std::string wrapped = wrap_text(text, width);
    for (size_t begin = 0; begin <= wrapped.size();) {
      size_t end = std::min(wrapped.find('\n', begin), wrapped.size());
      out.push_back(wrapped.substr(begin, end - begin));
      begin = end + 1;
    }
    return out;
  };
  fmt::print("\n{}\n", styled("» " + prompt, Style::kBold, stdout));
  std::vector<std::string> left = lines(before), right = lines(after);
  left.insert(left.begin(), styled("before", Style::kDim, stdout));
  right.insert(right.begin(), styled("after", Style::kDim, stdout));
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    std::string l = i < left.size() ? left[i] : "";
    fmt::print("{}{} │ {}\n", l, std::string(static_cast<size_t>(std::max(0, width - display_width(l))), ' '),
               i < right.size() ? right[i] : "");
  }
}

void run(const Flags& flags, const CLI::App& command) {
  Config config = flags.model.config(command, "fettle generate");
  GenerationOptions options = generation_options(config);
  options.sampling.do_sample =
      flags.sample || flags.temperature > 0 || (config.is_set("do_sample") && options.sampling.do_sample);
  if (flags.max_new_tokens > 0) options.max_new_tokens = flags.max_new_tokens;
  if (flags.temperature > 0) options.sampling.temperature = flags.temperature;
  if (flags.top_k >= 0) options.sampling.top_k = flags.top_k;
  if (flags.top_p >= 0) options.sampling.top_p = flags.top_p;
  if (flags.repetition_penalty > 0) options.sampling.repetition_penalty = flags.repetition_penalty;
  if (flags.seed >= 0) options.sampling.seed = static_cast<uint64_t>(flags.seed);
  std::vector<Request> requests = read_requests(flags);
  bool ids_only = true;
  for (const Request& request : requests) ids_only = ids_only && !request.ids.empty();

  Session session = open_session(config, !ids_only);
  std::shared_ptr<const ChatTemplate> chat = ids_only || flags.raw ? nullptr : open_template(config, session);
  Assistant assistant(*session.model, cpu_backend(), session.compute, session.tokenizer, chat);
  std::vector<BatchRequest> batch;
  bool any_routed = false;
  for (const Request& request : requests) any_routed = any_routed || request.adapters;
  for (const Request& request : requests) {
    BatchRequest one{.prompt = prompt_ids(request, assistant, flags.raw), .options = options, .adapters = {}};
    for (TokenId id : assistant.stop_ids(request.ids.empty() && !flags.raw))
      one.options.stop_ids.push_back(id);
    one.routed = request.adapters.has_value();
    std::vector<std::string> names;
    for (const AdapterSet::Choice& choice : session.adapters->in_use()) names.push_back(choice.name);
    if (one.routed) names = *request.adapters;
    one.adapters = session.adapters->route(0, names, any_routed).owners;
    batch.push_back(std::move(one));
  }
  auto text_of = [&](const Generation& answer) {
    return session.tokenizer ? session.tokenizer->decode(answer.ids, true) : std::string();
  };
  auto answers = [&](const std::function<void(size_t, const Generation&)>& finished = {}) {
    return generate_batch(*session.model, cpu_backend(), session.compute, batch, flags.batch, finished);
  };

  if (flags.compare) {
    if (session.adapters->empty())
      fail_usage("fettle generate --compare: give the adapter with --adapter DIR");
    std::vector<Generation> with = answers();
    session.adapters->use({});
    for (BatchRequest& request : batch) {
      request.adapters.clear();
      request.routed = false;
    }
    std::vector<Generation> without = answers();
    for (size_t i = 0; i < requests.size(); ++i)
      print_side_by_side(requests[i].label, text_of(without[i]), text_of(with[i]));
    return;
  }

  const bool rows = !flags.file.empty() || requests.size() > 1;
  std::string lines;
  // Answers that came early wait for those before them.
  std::map<size_t, Generation> waiting;
  size_t next = 0;
  Progress progress(
      {.label = "generate",
       .total = static_cast<int64_t>(requests.size()),
       .unit = "row",
       .style = rows && !flags.output.empty() ? ProgressStyle::kAutomatic : ProgressStyle::kSilent});
  auto show = [&](const Generation& answer) {
    std::string text = text_of(answer);
    std::string line = text + "\n";
    if (rows) {
      OrderedJson json = {{"text", text}, {"ids", answer.ids}, {"finish_reason", reason_name(answer.reason)}};
      line = json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    }
    if (flags.output.empty())
      fmt::print("{}", line);
    else
      lines += line;
    std::fflush(stdout);
  };
  const auto start = std::chrono::steady_clock::now();
  int64_t new_tokens = 0, done = 0;
  answers([&](size_t index, const Generation& answer) {
    new_tokens += static_cast<int64_t>(answer.ids.size());
    progress.update(++done, static_cast<int64_t>(requests.size()));
    waiting[index] = answer;
    for (; waiting.contains(next); ++next) {
      show(waiting[next]);
      waiting.erase(next);
    }
  });
  progress.finish();
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  say_detail("{} new tokens in {:.2f} s ({:.1f} tokens/s)", new_tokens, seconds,
             static_cast<double>(new_tokens) / std::max(seconds, 1e-9));
  if (!flags.output.empty()) write_file_atomically(flags.output, lines);
}

}  // namespace

void add_generate(CLI::App& root) {
  CLI::App& command =
      add_command(root, "generate", "Answer one prompt or a JSONL file of prompts", "Use a model");
  auto flags = std::make_shared<Flags>();
  flags->model.declare(command);
  command.add_option("-p,--prompt", flags->prompts, "A prompt; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command
      .add_option("-f,--file", flags->file,
                  "JSONL: {\"prompt\"}, {\"messages\"} or {\"input_ids\"} a line; \"adapter\" names one or "
                  "several of "
                  "the loaded adapters for that row")
      ->type_name("FILE");
  command.add_option("-s,--system", flags->system, "System prompt")->type_name("TEXT");
  command.add_option("-o,--output", flags->output, "Write the answers to a file")->type_name("FILE");
  command.add_option("-b,--batch", flags->batch, "Rows that are decoded together (default 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command.add_flag("--raw", flags->raw, "Continue the prompt as plain text, without a chat template");
  command.add_flag("--compare", flags->compare, "Show the base's answers beside those with the adapter");
  command.add_flag("--sample", flags->sample, "Draw tokens at random; default: the likeliest token");
  command.add_option("-n,--max-new-tokens", flags->max_new_tokens, "Longest answer in tokens")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--temperature", flags->temperature, "Sampling temperature; implies --sample")
      ->type_name("T")
      ->check(CLI::Range(0.0, 100.0));
  command.add_option("--top-k", flags->top_k, "Keep the k likeliest tokens; 0: all")
      ->type_name("K")
      ->check(CLI::Range(0, 1 << 24));
  command.add_option("--top-p", flags->top_p, "Keep the likeliest tokens up to this mass")
      ->type_name("P")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--repetition-penalty", flags->repetition_penalty, "Above 1 discourages repetition")
      ->type_name("X")
      ->check(CLI::Range(0.01, 100.0));
  command.add_option("--seed", flags->seed, "Seed of sampling")->type_name("N");
  command.callback([flags, &command] { run(*flags, command); });
}

}  // namespace fettle::app
