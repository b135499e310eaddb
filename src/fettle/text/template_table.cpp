#include "fettle/text/template_table.h"

#include <algorithm>

namespace fettle {
namespace {

using Kind = Slot::Kind;
const Slot kBos{Kind::kBos}, kEos{Kind::kEos};

TemplateSpec chatml_family(const char* name) {
  TemplateSpec t;
  t.name = name;
  t.system = {"<|im_start|>system\n{{content}}<|im_end|>\n"};
  t.user = {"<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"};
  t.assistant = {"{{content}}<|im_end|>\n"};
  t.observation = {
      "<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"};
  t.tool_format = "qwen";
  t.stop_words = {"<|im_end|>"};
  t.replace_eos = true;
  return t;
}

TemplateSpec deepseek_v3_family(const char* name) {
  TemplateSpec t;
  t.name = name;
  t.prefix = {kBos};
  t.user = {"<｜User｜>{{content}}<｜Assistant｜>"};
  return t;
}

TemplateSpec llama2_family(const char* name) {
  TemplateSpec t;
  t.name = name;
  t.system = {"<<SYS>>\n{{content}}\n<</SYS>>\n\n"};
  t.user = {kBos, "[INST] {{content}} [/INST]"};
  t.system_in_user = true;
  return t;
}

std::vector<TemplateSpec> make_table() {
  std::vector<TemplateSpec> all;
  auto add = [&](TemplateSpec t) { all.push_back(std::move(t)); };
  auto plain = [](const char* name, Slots user) {
    TemplateSpec t;
    t.name = name;
    t.user = std::move(user);
    return t;
  };

  TemplateSpec t = plain("default", {"Human: {{content}}", kEos, "\nAssistant:"});
  t.system = {"System: {{content}}", kEos, "\n"};
  t.assistant = {"{{content}}", kEos, "\n"};
  add(t);

  t = plain("empty", {"{{content}}"});
  t.assistant = {"{{content}}"};
  add(t);

  t = plain("alpaca", {"### Instruction:\n{{content}}\n\n### Response:\n"});
  t.assistant = {"{{content}}", kEos, "\n\n"};
  t.default_system =
      "Below is an instruction that describes a task. Write a response that appropriately completes the "
      "request.\n\n";
  add(t);

  t = plain("deepseek", {"User: {{content}}\n\nAssistant:"});
  t.prefix = {kBos};
  t.system = {"{{content}}\n\n"};
  add(t);
  add(deepseek_v3_family("deepseek3"));
  t = deepseek_v3_family("deepseekr1");
  t.reasoning = true;
  add(t);

  t = chatml_family("qwen");
  t.default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
  add(t);
  t = chatml_family("qwen3");
  t.reasoning = true;
  add(t);
  add(chatml_family("qwen3_nothink"));
  t = chatml_family("chatml");
  t.observation = {"<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n"};
  t.tool_format = "default";
  t.stop_words = {"<|im_end|>", "<|im_start|>"};
  add(t);

  add(llama2_family("llama2"));
  t = llama2_family("llama2_zh");
  t.default_system = "You are a helpful assistant. 你是一个乐于助人的助手。";
  add(t);

  t = plain("llama3", {"<|start_header_id|>user<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>"
                       "assistant<|end_header_id|>\n\n"});
  t.prefix = {kBos};
  t.system = {"<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>"};
  t.assistant = {"{{content}}<|eot_id|>"};
  t.observation = {
      "<|start_header_id|>ipython<|end_header_id|>\n\n{{content}}<|eot_id|><|start_header_id|>assistant<|end_"
      "header_id|>\n\n"};
  t.tool_format = "llama3";
  t.stop_words = {"<|eot_id|>", "<|eom_id|>"};
  t.replace_eos = true;
  add(t);

  t = plain("mistral", {"[INST] {{content}}[/INST]"});
  t.prefix = {kBos};
  t.system = {"{{content}}\n\n"};
  t.assistant = {" {{content}}", kEos};
  t.tool_format = "mistral";
  t.system_in_user = true;
  add(t);

  t = plain("gemma", {"<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n"});
  t.prefix = {kBos};
  t.system = {"{{content}}\n\n"};
  t.assistant = {"{{content}}<end_of_turn>\n"};
  t.stop_words = {"<end_of_turn>"};
  t.replace_eos = true;
  t.system_in_user = true;
  add(t);

  t = plain("phi", {"<|user|>\n{{content}}<|end|>\n<|assistant|>\n"});
  t.system = {"<|system|>\n{{content}}<|end|>\n"};
  t.assistant = {"{{content}}<|end|>\n"};
  t.stop_words = {"<|end|>"};
  t.replace_eos = true;
  add(t);

  t = plain("vicuna", {"USER: {{content}} ASSISTANT:"});
  t.default_system =
      "A chat between a curious user and an artificial intelligence assistant. "
      "The assistant gives helpful, detailed, and polite answers to the user's questions.";
  add(t);
  std::sort(all.begin(), all.end(),
            [](const TemplateSpec& a, const TemplateSpec& b) { return a.name < b.name; });
  return all;
}

}  // namespace

const std::vector<TemplateSpec>& template_table() {
  static const std::vector<TemplateSpec> table = make_table();
  return table;
}

const TemplateSpec* find_template(std::string_view name) {
  for (const TemplateSpec& t : template_table())
    if (t.name == name) return &t;
  return nullptr;
}

}  // namespace fettle
