#include "fettle/train/profile_report.h"

#include <algorithm>

#include "fettle/base/terminal.h"

namespace fettle {

void report_profile(const Profile& profile, const TrainSummary& summary, const std::filesystem::path& trace) {
  profile.write_trace(trace);
  const double all = std::max(summary.runtime_seconds, 1e-9);
  Table phases({"phase", "seconds", "share"}, {Align::kLeft, Align::kRight, Align::kRight});
  for (const char* phase : {"forward", "head and loss", "backward", "optimizer"})
    phases.add_row({phase, fmt::format("{:.3f}", profile.phase_seconds(phase)),
                    fmt::format("{:.1f}%", 100 * profile.phase_seconds(phase) / all)});
  Table ops({"op", "calls", "seconds", "share", "GFLOP/s", "GB/s"},
            {Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight, Align::kRight});
  for (const ProfileLine& line : profile.by_op())
    ops.add_row({line.name, format_count(line.calls), fmt::format("{:.3f}", line.seconds),
                 fmt::format("{:.1f}%", 100 * line.seconds / all),
                 line.flops > 0 ? fmt::format("{:.0f}", line.flops / line.seconds * 1e-9) : "-",
                 fmt::format("{:.1f}", line.bytes / line.seconds * 1e-9)});
  fmt::print("\n{} steps, {:.3f} s, {:.0f} tokens/s\n\n{}\n{}", summary.steps, all,
             static_cast<double>(summary.tokens) / all, phases.text(), ops.text());
  say("\nTrace:  {} (chrome://tracing or ui.perfetto.dev)", trace.string());
}

}  // namespace fettle
