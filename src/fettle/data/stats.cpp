#include "fettle/data/stats.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <unordered_set>

#include "fettle/base/terminal.h"

namespace fettle {
namespace {

/// 128-bit hash of ids and labels: two examples of ten million share one by chance once in 10^24 runs.
struct Fingerprint {
  uint64_t low, high;
  bool operator==(const Fingerprint&) const = default;
};
struct FingerprintHash {
  size_t operator()(const Fingerprint& f) const { return static_cast<size_t>(f.low); }
};
using Fingerprints = std::unordered_set<Fingerprint, FingerprintHash>;

Fingerprint fingerprint(const Example& example) {
  XXH128_hash_t ids = XXH3_128bits(example.ids.data(), example.ids.size() * sizeof(int32_t));
  XXH128_hash_t both =
      XXH3_128bits_withSeed(example.labels.data(), example.labels.size() * sizeof(int32_t), ids.low64);
  return {ids.low64 ^ both.low64, ids.high64 ^ both.high64};
}

// 1, 2 or 5 times a power of ten.
int64_t round_width(int64_t least) {
  for (int64_t unit = 1;; unit *= 10)
    for (int64_t factor : {1, 2, 5})
      if (unit * factor >= least) return unit * factor;
}

std::string share(int64_t part, int64_t whole) {
  return fmt::format("{:.1f}%",
                     whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0);
}

}  // namespace

DatasetStats dataset_stats(const Dataset& data, int bins) {
  DatasetStats stats;
  stats.rows_read = data.rows_read;
  stats.dropped = data.dropped;
  stats.without_label = data.without_label;
  stats.truncated = data.truncated;
  stats.examples = static_cast<int64_t>(data.examples.size());
  std::vector<int64_t> lengths;
  Fingerprints seen;
  for (const Example& example : data.examples) {
    lengths.push_back(static_cast<int64_t>(example.ids.size()));
    stats.tokens += lengths.back();
    stats.label_tokens += example.labelled();
    stats.duplicates += !seen.insert(fingerprint(example)).second;
  }
  if (lengths.empty()) return stats;
  std::sort(lengths.begin(), lengths.end());
  auto quantile = [&](size_t percent) { return lengths[(lengths.size() - 1) * percent / 100]; };
  stats.shortest = lengths.front();
  stats.median = quantile(50);
  stats.p95 = quantile(95);
  stats.longest = lengths.back();
  int64_t width = round_width(stats.longest / std::max(1, bins) + 1);
  stats.lengths.resize(static_cast<size_t>(stats.longest / width + 1));
  for (size_t i = 0; i < stats.lengths.size(); ++i)
    stats.lengths[i] = {static_cast<int64_t>(i) * width, static_cast<int64_t>(i + 1) * width, 0};
  for (int64_t length : lengths) ++stats.lengths[static_cast<size_t>(length / width)].examples;
  return stats;
}

std::string stats_text(const DatasetStats& stats, int columns) {
  Table table({});
  auto row = [&](const char* name, const std::string& value) { table.add_row({name, value}); };
  row("rows", fmt::format("{} read, {} dropped ({} without a label)", format_count(stats.rows_read),
                          format_count(stats.dropped), format_count(stats.without_label)));
  row("examples", fmt::format("{}, {} cut ({}), {} repeated ({})", format_count(stats.examples),
                              format_count(stats.truncated), share(stats.truncated, stats.rows_read),
                              format_count(stats.duplicates), share(stats.duplicates, stats.examples)));
  row("tokens", fmt::format("{}, {} trained ({})", format_count(stats.tokens),
                            format_count(stats.label_tokens), share(stats.label_tokens, stats.tokens)));
  row("length", fmt::format("{} to {}, median {}, 95% within {}", stats.shortest, stats.longest, stats.median,
                            stats.p95));
  std::string text = table.text(columns);
  if (stats.lengths.empty()) return text;
  int64_t most = 1;
  for (const LengthBin& bin : stats.lengths) most = std::max(most, bin.examples);
  int digits = static_cast<int>(fmt::formatted_size("{}", stats.lengths.back().to));
  int counts = static_cast<int>(format_count(most).size());
  int room = std::max(8, columns - 2 * digits - counts - 6);
  text += "\n";
  for (const LengthBin& bin : stats.lengths) {
    double eighths = 8.0 * room * static_cast<double>(bin.examples) / static_cast<double>(most);
    int whole = static_cast<int>(eighths) / 8, rest = static_cast<int>(eighths) % 8;
    static const char* const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    std::string bar;
    for (int i = 0; i < whole; ++i) bar += "█";
    bar += whole == 0 && rest == 0 && bin.examples > 0 ? parts[1] : parts[rest];
    text += fmt::format("{:>{}} – {:<{}}  {:>{}}{}{}\n", bin.from, digits, bin.to - 1, digits,
                        format_count(bin.examples), counts, bar.empty() ? "" : " ", bar);
  }
  return text;
}

int64_t overlap(const Dataset& train, const Dataset& validation) {
  Fingerprints seen;
  for (const Example& example : train.examples) seen.insert(fingerprint(example));
  return std::count_if(validation.examples.begin(), validation.examples.end(),
                       [&](const Example& example) { return seen.contains(fingerprint(example)); });
}

}  // namespace fettle
