// How help pages look.
#pragma once
#include <CLI/App.hpp>
#include <CLI/Formatter.hpp>
#include <string>

namespace fettle::app {

/// Description, one usage line, the flags by group with those about output last, the commands by group, the
/// footer.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;

 private:
  std::string flags(const CLI::App* app) const;
};

/// The flags that every command has stand in this group.
inline constexpr const char* kOutputGroup = "Output";

}  // namespace fettle::app
