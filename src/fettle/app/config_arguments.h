// Commands that take the options of a run: a YAML file, key=value and --key value words.
#pragma once
#include <initializer_list>

#include "fettle/app/cli.h"
#include "fettle/base/config/config.h"

namespace fettle::app {

/// Lets `command` take options of the schema beside its own flags. Its help lists the common ones of
/// `groups`;
/// --help-all lists all supported ones.
void accept_config(CLI::App& command, std::vector<OptionGroup> groups);
/// The words that such a command takes, for its usage line; "[run.yaml] [key=value …]" unless set.
std::string usage_words(const CLI::App& command);
void set_usage_words(const CLI::App& command, const std::string& words);
/// Whether accept_config() was called for it.
bool accepts_config(const CLI::App& command);

/// In the callback of such a command: what the words and the environment say, checked. `more` come after the
/// words. Notes (old spellings, keys without effect) go to stderr.
Config read_config(const CLI::App& command, const std::vector<ConfigArguments::Override>& more = {});

}  // namespace fettle::app
