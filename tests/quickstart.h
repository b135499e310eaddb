// Runs of `fettle train` on the small model and data of examples/quickstart, a tenth of a second each.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "support.h"

namespace fettle::test {

/// LoRA over nine steps with dropout and accumulation, saved after 2, 4, 6, 8 and 9, two checkpoints kept.
/// `more` comes last and wins.
std::vector<std::string> quickstart_run(const std::filesystem::path& output_dir,
                                        const std::vector<std::string>& more = {});

/// What must not depend on whether a run was broken: the weights, and everything logged but the clock.
std::string run_result(const std::filesystem::path& output_dir);

/// The names and bytes of all files of a folder, of a checkpoint for example, clock times left out.
std::string folder_content(const std::filesystem::path& folder);

}  // namespace fettle::test
