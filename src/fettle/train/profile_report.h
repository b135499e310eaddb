// fettle train --profile: where the time of a few steps went.
#pragma once
#include <filesystem>

#include "fettle/kernels/profile.h"
#include "fettle/train/callback.h"

namespace fettle {

/// Writes `trace` (Chrome's format) and prints seconds, arithmetic and traffic of phases and of every op.
void report_profile(const Profile& profile, const TrainSummary& summary, const std::filesystem::path& trace);

}  // namespace fettle
