// Merging into a model folder, with a check of what came out.
#pragma once
#include <filesystem>

#include "fettle/app/session.h"

namespace fettle::app {

/// Writes the merged folder and says how far its logits stray from those with the adapters mounted.
/// Error(kUsage) for an adapter that cannot be merged.
void merge_and_report(Session& session, const std::filesystem::path& base,
                      const std::filesystem::path& output, uint64_t max_shard_bytes, bool dequantize);

}  // namespace fettle::app
