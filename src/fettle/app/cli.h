// The command line: one root, one file for each command.
//
// A command is a function `void add_NAME(CLI::App& root)` in its own file NAME_command.cpp, declared in
// commands.h and listed in commands.cpp. It calls add_command(), declares its flags on the App that it gets
// back, and sets a callback that does the work. Whatever it cannot do it throws as fettle::Error; the root
// prints the message and turns the code into the exit status.
#pragma once
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

namespace fettle::app {

/// Adds a command (also nested, below another one) with the flags that all share: -h/--help, -q/--quiet,
/// -v/--verbose, --no-color. `group` is the heading in the help of `parent`.
CLI::App& add_command(CLI::App& parent, const std::string& name, const std::string& description,
                      const std::string& group = "Commands");

/// Thrown by a command whose result is an exit status without an error message.
struct ExitStatus {
  int code;
};

/// Parses the arguments and runs the command; the exit status of the program.
int run(int argc, char** argv);

}  // namespace fettle::app
