// fettle doctor: the machine and the program, as text to paste into a report, with what would hinder a run.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/base/system.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/base/version.h"
#include "fettle/kernels/backend.h"

namespace fettle::app {
namespace {

struct Finding {
  std::string name, value, advice;  // no advice: all is well
};

std::vector<Finding> examine() {
  std::vector<Finding> findings;
  auto add = [&](std::string name, std::string value, std::string advice = "") {
    findings.push_back({std::move(name), std::move(value), std::move(advice)});
  };
  add("fettle", std::string(kVersion));
  add("system", operating_system());
  const CpuInfo cpu = cpu_info();
  add("processor", cpu.model);
  add("instruction sets", cpu.features.text(),
      cpu.features.avx2 || cpu.features.neon ? "" : "without AVX2 or NEON training is very slow");
  add("compute path", cpu_backend_description());
  add("cores", fmt::format("{} usable of {}", cpu.usable_cores, cpu.online_cores));
  const int threads = thread_count();
  add("threads", std::to_string(threads),
      threads > cpu.usable_cores
          ? fmt::format("more threads than usable cores; set threads={}", cpu.usable_cores)
          : "");
  const MemoryInfo memory = memory_info();
  std::string memory_text =
      fmt::format("{} available of {}", format_bytes(memory.available), format_bytes(memory.total));
  if (memory.limit)
    memory_text += fmt::format(", limited to {} by the control group", format_bytes(*memory.limit));
  add("memory", memory_text,
      memory.available < 2'000'000'000 ? "a 0.5B model needs about 2 GB; stop other programs" : "");
  if (const auto disk = disk_free("."))
    add("disk here", fmt::format("{} free", format_bytes(*disk)),
        *disk < 2'000'000'000 ? "checkpoints and merged models need room; free some or use another output_dir"
                              : "");
  for (const char* variable : {"OMP_NUM_THREADS", "FETTLE_CPU", "FETTLE_THREADS"})
    if (const char* value = std::getenv(variable)) add(variable, printable(value));
  return findings;
}

void print_json(const std::vector<Finding>& findings) {
  OrderedJson out;
  for (const Finding& finding : findings) {
    out[finding.name] = {{"value", finding.value}};
    if (!finding.advice.empty()) out[finding.name]["advice"] = finding.advice;
  }
  fmt::print("{}\n", out.dump(2, ' ', false, OrderedJson::error_handler_t::replace));
}

}  // namespace

void add_doctor(CLI::App& root) {
  CLI::App& command =
      add_command(root, "doctor", "Describe this machine and what would hinder a run", "Information");
  auto json = std::make_shared<bool>(false);
  command.add_flag("--json", *json, "Print JSON");
  command.callback([json] {
    const std::vector<Finding> findings = examine();
    if (*json) return print_json(findings);
    Table table({});
    for (const Finding& finding : findings) table.add_row({finding.name, finding.value});
    fmt::print("{}", table.text());
    int problems = 0;
    for (const Finding& finding : findings) {
      if (finding.advice.empty()) continue;
      fmt::print("{} {}: {}\n", styled("!", Style::kYellow, stdout), finding.name, finding.advice);
      ++problems;
    }
    if (problems == 0) fmt::print("{}\n", styled("ready to train", Style::kGreen, stdout));
  });
}

}  // namespace fettle::app
