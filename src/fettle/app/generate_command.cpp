// fettle generate: one prompt, or a JSON-lines file of prompts or conversations.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/terminal.h"
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
  bool raw = false, sample = false, compare = false;
};

struct Request {
  Conversation conversation;
  std::string raw;           ///< with --raw
  std::vector<TokenId> ids;  ///< an {"input_ids"} row
  std::string label;         ///< shown before the answer
};

Request from_row(const Json& row, const std::string& where, const Flags& flags) {
  Request request;
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

Answer answer_to(const Request& request, Assistant& assistant, const Tokenizer* tokenizer,
                 Generator& generator, const GenerationOptions& options, bool raw) {
  if (!request.ids.empty()) {
    Answer answer;
    answer.generation = generator.generate(request.ids, options);
    if (tokenizer) answer.text = tokenizer->decode(answer.generation.ids, true);
    return answer;
  }
  return raw ? assistant.complete(request.raw, options) : assistant.reply(request.conversation, options);
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
  Generator generator(*session.model, cpu_backend(), session.compute);
  GenerationOptions id_options = options;
  for (int32_t id : session.model->config().eos_token_ids) id_options.stop_ids.push_back(id);

  auto answers = [&] {
    std::vector<Answer> all;
    for (const Request& request : requests)
      all.push_back(answer_to(request, assistant, session.tokenizer.get(), generator,
                              request.ids.empty() ? options : id_options, flags.raw));
    return all;
  };
  if (flags.compare) {
    if (session.adapters.empty())
      fail_usage("fettle generate --compare: give the adapter with --adapter DIR");
    std::vector<Answer> with = answers();
    session.adapters.clear();
    assistant.forget();
    generator.forget();
    std::vector<Answer> without = answers();
    for (size_t i = 0; i < requests.size(); ++i)
      print_side_by_side(requests[i].label, without[i].text, with[i].text);
    return;
  }
  bool rows = !flags.file.empty() || requests.size() > 1;
  std::string lines;
  for (const Request& request : requests) {
    Answer answer = answer_to(request, assistant, session.tokenizer.get(), generator,
                              request.ids.empty() ? options : id_options, flags.raw);
    if (rows) {
      OrderedJson json = {{"text", answer.text},
                          {"ids", answer.generation.ids},
                          {"finish_reason", reason_name(answer.generation.reason)}};
      std::string line = json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
      if (flags.output.empty())
        fmt::print("{}", line);
      else
        lines += line;
    } else if (flags.output.empty()) {
      fmt::print("{}\n", answer.text);
    } else {
      lines = answer.text + "\n";
    }
    std::fflush(stdout);
    say_detail(
        "{} prompt tokens in {:.2f} s, {} new tokens in {:.2f} s ({:.1f} tokens/s)",
        answer.generation.prompt_tokens_computed, answer.generation.prompt_seconds,
        answer.generation.ids.size(), answer.generation.decode_seconds,
        static_cast<double>(answer.generation.ids.size()) / std::max(answer.generation.decode_seconds, 1e-9));
  }
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
      .add_option("-f,--file", flags->file, "JSONL: {\"prompt\"}, {\"messages\"} or {\"input_ids\"} a line")
      ->type_name("FILE");
  command.add_option("-s,--system", flags->system, "System prompt")->type_name("TEXT");
  command.add_option("-o,--output", flags->output, "Write the answers to a file")->type_name("FILE");
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
