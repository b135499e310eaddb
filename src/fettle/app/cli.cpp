#include "fettle/app/cli.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <utility>

#include "fettle/app/commands.h"
#include "fettle/app/help.h"
#include "fettle/base/error.h"
#include "fettle/base/system.h"
#include "fettle/base/terminal.h"
#include "fettle/tensor/memory.h"

namespace fettle::app {
namespace {

constexpr const char* kShortHelp =
    "fettle fine-tunes language models on this machine.\n"
    "\n"
    "  fettle train run.yaml     train as a YAML file says\n"
    "  fettle chat …             talk to a model, with or without an adapter\n"
    "  fettle export …           merge an adapter into a full model folder\n"
    "  fettle doctor             look at this machine\n"
    "\n"
    "All commands: fettle --help    One command: fettle COMMAND --help\n";

// Of memory that is given back when there is no more: a JSON object of a large vocabulary takes as much to be
// destroyed. Never touched, so it costs addresses only.
constexpr size_t kReserve = 4 << 20;

int report(ExitCode code, std::string_view message) {
  fmt::print(stderr, "{} {}\n", styled("error:", Style::kRed, stderr), message);
  return static_cast<int>(code);
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

// The commands that the words name, "fettle config show". A word where only a command can stand has to be
// one; CLI11 would speak of an unexpected argument.
std::string command_path(CLI::App& root, int argc, char** argv) {
  CLI::App* app = &root;
  std::string path = root.get_name();
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::vector<std::string> names = command_names(*app);
    if (names.empty()) break;
    if (word.starts_with('-')) continue;
    if (std::find(names.begin(), names.end(), word) == names.end()) {
      const std::string near = nearest(word, names);
      fail_usage("unknown command \"{}\"{}; `{} --help` lists the commands", printable(word),
                 near.empty() ? "" : fmt::format(", did you mean `{} {}`?", path, near), path);
    }
    app = app->get_subcommand(word);
    path += " " + word;
  }
  return path;
}

void add_shared_flags(CLI::App& app) {
  app.set_help_flag("-h,--help", "Print this help");
  app.add_flag_callback(
         "-q,--quiet", [] { set_verbosity(Verbosity::kQuiet); }, "Say only warnings and errors")
      ->group(kOutputGroup);
  app.add_flag_callback(
         "-v,--verbose", [] { set_verbosity(Verbosity::kVerbose); }, "Say more")
      ->group(kOutputGroup);
  app.add_flag_callback("--no-color", disable_color, "No colours (also: NO_COLOR=1)")->group(kOutputGroup);
}

}  // namespace

CLI::App& add_command(CLI::App& parent, const std::string& name, const std::string& description,
                      const std::string& group) {
  CLI::App& command = *parent.add_subcommand(name, description);
  command.group(group);
  command.require_subcommand(0, 1);
  add_shared_flags(command);
  return command;
}

namespace {

// What there is of memory, where even an error message may find none.
int report_out_of_memory() {
  try {
    const MemoryReport memory = HostMemory::instance().report();
    std::string tensors;
    for (size_t kind = 0; kind < kMemoryKinds; ++kind)
      if (memory.kinds[kind].current > 0)
        tensors += fmt::format("{}{} {}", tensors.empty() ? "" : ", ",
                               memory_kind_name(static_cast<MemoryKind>(kind)),
                               format_bytes(memory.kinds[kind].current));
    return report(ExitCode::kResources,
                  fmt::format("out of memory: the process holds {}, tensors in it {}; {} are free; use a "
                              "smaller batch or cutoff_len",
                              format_bytes(resident_bytes()), tensors.empty() ? "nothing" : tensors,
                              format_bytes(memory_info().available)));
  } catch (const std::exception&) {
    constexpr std::string_view kMessage = "error: out of memory\n";
    (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    return static_cast<int>(ExitCode::kResources);
  }
}

int dispatch(CLI::App& root, int argc, char** argv) {
  std::string path = root.get_name();
  try {
    path = command_path(root, argc, argv);
    root.parse(argc, argv);
    if (root.get_subcommands().empty()) fmt::print("{}", kShortHelp);
    return 0;
  } catch (const ExitStatus& status) {
    return status.code;
  } catch (const CLI::Success& success) {
    return root.exit(success);
  } catch (const CLI::ParseError& error) {
    return report(ExitCode::kUsage, fmt::format("{}; see `{} --help`", error.what(), path));
  } catch (const Error& error) {
    return report(error.code(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    return report(ExitCode::kResources, error.what());
  } catch (const std::bad_alloc&) {
    return report_out_of_memory();
  } catch (const std::exception& error) {
    return report(ExitCode::kInternal,
                  fmt::format("{} (a defect in fettle; please report it)", error.what()));
  }
}

}  // namespace

namespace {

int run_command(int argc, char** argv) {
  CLI::App root("fettle fine-tunes language models on this machine.", "fettle");
  root.formatter(std::make_shared<HelpFormatter>());
  add_shared_flags(root);
  root.require_subcommand(0, 1);
  add_all_commands(root);
  const int code = dispatch(root, argc, argv);
  // Output that did not reach its file is a failure, however well the command went.
  std::cout.flush();
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) || !std::cout) && code == 0)
    return report(ExitCode::kResources,
                  fmt::format("cannot write to standard output: {}", std::strerror(errno)));
  return code;
}

}  // namespace

int run(int argc, char** argv) {
  // A file that is opened must not take the number of a closed stream, or messages would be written into it.
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) < 0) ::_exit(4);
  // `fettle … | head` ends quietly, as other tools do.
  ::signal(SIGPIPE, SIG_DFL);
  // A file above the limit of its size (ulimit -f) is then an error of write() like any other.
  ::signal(SIGXFSZ, SIG_IGN);
  // When memory runs out, a request is tried again with the first of these given back: it may come from a
  // destructor, which must not throw. The second is for the way out.
  static std::array<char*, 2> reserves = {new (std::nothrow) char[kReserve],
                                          new (std::nothrow) char[kReserve]};
  std::set_new_handler([] {
    const bool again = reserves[0] != nullptr;
    delete[] std::exchange(reserves[again ? 0 : 1], nullptr);
    if (!again) throw std::bad_alloc();
  });
  try {
    return run_command(argc, argv);
  } catch (const std::bad_alloc&) {
    return report_out_of_memory();
  }
}

}  // namespace fettle::app
