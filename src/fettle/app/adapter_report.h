// fettle adapter info and diff: tables about adapter folders.
#pragma once
#include <filesystem>

namespace fettle::app {

/// Method, base, parameters, and a line for each kind of module: how many, shapes, size of the change.
void print_adapter_info(const std::filesystem::path& folder, bool json);

/// Settings and tensors that differ and, for LoRA, how far the changes of the weights agree. True when the
/// folders say the same.
bool print_adapter_difference(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace fettle::app
