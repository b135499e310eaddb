#include "fettle/data/stats.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/terminal.h"

namespace fettle {
namespace {

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

std::string rows_text(int64_t rows) {
  return fmt::format("{} row{}", format_count(rows), rows == 1 ? "" : "s");
}

// "data.jsonl:3, :9, :12 …": the file is named once, without its folder.
std::string places(const RowList& list, size_t most) {
  std::string out, file;
  for (size_t i = 0; i < std::min(most, list.first.size()); ++i) {
    const std::string& origin = list.first[i];
    size_t colon = std::min(origin.rfind(':'), origin.size()), slash = origin.rfind('/');
    if (i > 0) out += ", ";
    out += file == origin.substr(0, colon) ? origin.substr(colon)
                                           : origin.substr(slash == origin.npos ? 0 : slash + 1);
    file = origin.substr(0, colon);
  }
  return out + (list.rows > static_cast<int64_t>(std::min(most, list.first.size())) ? " …" : "");
}

int64_t quantile(const std::map<int64_t, int64_t>& rows_of_length, int64_t rows, int64_t percent) {
  int64_t wanted = (rows - 1) * percent / 100;
  for (const auto& [length, count] : rows_of_length) {
    if (wanted < count) return length;
    wanted -= count;
  }
  return 0;
}

std::string bar(int64_t value, int64_t most, int room) {
  static const char* const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  int64_t eighths = static_cast<int64_t>(8.0 * room * static_cast<double>(value) / static_cast<double>(most));
  std::string out;
  for (int64_t i = 0; i < eighths / 8; ++i) out += "█";
  return out + (eighths == 0 && value > 0 ? parts[1] : parts[eighths % 8]);
}

std::string length_chart(const DatasetStats& stats, int columns) {
  int64_t most = 1;
  for (const LengthBin& bin : stats.lengths) most = std::max(most, bin.rows);
  size_t digits = format_count(stats.lengths.back().to).size(), counts = format_count(most).size();
  int room = std::max(8, columns - 2 * static_cast<int>(digits) - static_cast<int>(counts) - 6);
  std::string text;
  for (const LengthBin& bin : stats.lengths) {
    std::string line =
        fmt::format("{:>{}} – {:<{}}  {:>{}} {}", format_count(bin.from), digits, format_count(bin.to - 1),
                    digits, format_count(bin.rows), counts, bar(bin.rows, most, room));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
    if (stats.cutoff_len >= bin.from && stats.cutoff_len < bin.to && stats.truncated > 0)
      text += fmt::format("{:>{}}   cutoff_len\n", format_count(stats.cutoff_len), digits);
  }
  return text;
}

}  // namespace

void RowList::add(const std::string& origin) {
  ++rows;
  if (first.size() < kMost) first.push_back(origin);
}

namespace {

// Of a preference pair the longer side, which is what cutoff_len and memory see.
Example longest_sample(const Example& example) {
  std::vector<Example> samples = example.samples();
  return *std::max_element(samples.begin(), samples.end(),
                           [](const Example& a, const Example& b) { return a.ids.size() < b.ids.size(); });
}

}  // namespace

StatsCollector::StatsCollector(const DatasetRequest& request, const StatsCollector* other) : other_(other) {
  stats_.cutoff_len = request.cutoff_len;
  stats_.compared = other != nullptr;
}

void StatsCollector::add(Record&& record, const InspectedRow& row) {
  ++stats_.rows;
  std::array<int64_t, kPersonalDataKinds> found{};
  anonymize_json(record.value, found);
  for (size_t kind = 0; kind < kPersonalDataKinds; ++kind) {
    stats_.personal_found[kind] += found[kind];
    if (found[kind] > 0) stats_.personal[kind].add(record.origin);
  }
  if (row.content != 0 && !contents_.insert(row.content).second) stats_.duplicates.add(record.origin);
  if (row.content != 0 && other_ && other_->contents_.contains(row.content))
    stats_.overlap.add(record.origin);
  if (row.placeholder) stats_.placeholders.add(record.origin);
  stats_.truncated += row.truncated;
  stats_.without_label += row.without_label;
  if (!row.problem.empty()) {
    stats_.unusable.add(record.origin);
    if (stats_.reasons.size() < RowList::kMost) {
      // A JSON error quotes the text around it.
      std::string reason = row.problem.substr(0, row.problem.find("; last read"));
      stats_.reasons.push_back({record.origin, std::move(reason)});
    }
    return;
  }
  bool encoded = !row.example.ids.empty();
  if (stats_.usable++ > 0 && stats_.in_tokens != encoded)
    fail_usage("{}: some data sets are counted in tokens and others in characters; look at them one by one",
               record.origin);
  stats_.in_tokens = encoded;
  stats_.rounds += row.rounds;
  stats_.most_rounds = std::max(stats_.most_rounds, row.rounds);
  const Example whole = longest_sample(row.truncated ? row.whole : row.example);
  const Example kept = longest_sample(row.example);
  int64_t length = encoded ? static_cast<int64_t>(whole.ids.size()) : row.characters;
  stats_.length += length;
  stats_.kept += encoded ? static_cast<int64_t>(kept.ids.size()) : row.characters;
  stats_.trained += encoded ? kept.labelled() : row.trained_characters;
  ++rows_of_length_[length];
}

DatasetStats StatsCollector::stats(int bins) const {
  DatasetStats stats = stats_;
  if (!stats.in_tokens) stats.cutoff_len = 0;
  if (rows_of_length_.empty()) return stats;
  stats.shortest = rows_of_length_.begin()->first;
  stats.longest = rows_of_length_.rbegin()->first;
  stats.median = quantile(rows_of_length_, stats.usable, 50);
  stats.p95 = quantile(rows_of_length_, stats.usable, 95);
  // The few longest rows would press all others into one bin, so the width follows the 95th percentile and
  // the last bin takes the rest.
  int64_t top = std::min(stats.longest, 2 * stats.p95);
  int64_t width = round_width((top - stats.shortest) / std::max(1, bins) + 1);
  int64_t first = stats.shortest / width, count = top / width + 1 - first;
  for (int64_t i = first; i < first + count; ++i) stats.lengths.push_back({i * width, (i + 1) * width, 0});
  stats.lengths.back().to = std::max(stats.lengths.back().to, stats.longest + 1);
  for (const auto& [length, rows] : rows_of_length_)
    stats.lengths[static_cast<size_t>(std::min(length / width - first, count - 1))].rows += rows;
  return stats;
}

std::string stats_text(const DatasetStats& stats, int columns) {
  const char* unit = stats.in_tokens ? "tokens" : "characters";
  Table table({});
  auto row = [&](std::string_view name, std::string value) {
    table.add_row({std::string(name), std::move(value)});
  };
  row("rows", fmt::format("{}, {} usable", format_count(stats.rows), format_count(stats.usable)));
  if (stats.rounds > 0)
    row("rounds", fmt::format("{}, {:.1f} a row, at most {}", format_count(stats.rounds),
                              static_cast<double>(stats.rounds) /
                                  static_cast<double>(std::max<int64_t>(1, stats.usable)),
                              stats.most_rounds));
  row(unit, fmt::format("{}, {} trained ({})", format_count(stats.length), format_count(stats.trained),
                        share(stats.trained, stats.kept)));
  row("length",
      fmt::format("{} to {}, median {}, 95% within {}", format_count(stats.shortest),
                  format_count(stats.longest), format_count(stats.median), format_count(stats.p95)));
  if (stats.cutoff_len > 0)
    row("cut",
        stats.truncated == 0
            ? fmt::format("none at cutoff_len {}", format_count(stats.cutoff_len))
            : fmt::format("{} rows at cutoff_len {} ({}), {} tokens lost", format_count(stats.truncated),
                          format_count(stats.cutoff_len), share(stats.truncated, stats.rows),
                          format_count(stats.length - stats.kept)));
  if (stats.duplicates.rows > 0)
    row("repeated", fmt::format("{} ({}): {}", rows_text(stats.duplicates.rows),
                                share(stats.duplicates.rows, stats.rows), places(stats.duplicates, 3)));
  else
    row("repeated", "none");
  if (stats.placeholders.rows > 0)
    row("placeholders", fmt::format("{} with {{{{name}}}} or {{{{author}}}}, to be replaced: {}",
                                    rows_text(stats.placeholders.rows), places(stats.placeholders, 3)));
  if (stats.compared)
    row("overlap", stats.overlap.rows == 0
                       ? "none with the training data"
                       : fmt::format("{} also in the training data ({}): {}", rows_text(stats.overlap.rows),
                                     share(stats.overlap.rows, stats.rows), places(stats.overlap, 3)));
  std::string text = table.text(columns);
  if (stats.unusable.rows > 0) {
    text += fmt::format("\n{} cannot be used:\n", rows_text(stats.unusable.rows));
    constexpr size_t kShown = 10;
    for (size_t i = 0; i < std::min(kShown, stats.reasons.size()); ++i)
      text += fit_to_width(
                  fmt::format("  {}: {}", stats.reasons[i].origin, printable(stats.reasons[i].reason, 300)),
                  std::max(columns, 100)) +
              "\n";
    if (stats.unusable.rows > static_cast<int64_t>(kShown)) text += "  …\n";
  }
  Table personal({});
  for (size_t kind = 0; kind < kPersonalDataKinds; ++kind)
    if (stats.personal_found[kind] > 0)
      personal.add_row({std::string("  ") + personal_data_name(static_cast<PersonalData>(kind)),
                        fmt::format("{} in {}", format_count(stats.personal_found[kind]),
                                    rows_text(stats.personal[kind].rows)),
                        places(stats.personal[kind], 3)});
  if (std::string found = personal.text(columns); !found.empty())
    text += "\nPerhaps personal data; fettle data anonymize masks it:\n" + found;
  if (!stats.lengths.empty())
    text += fmt::format("\nLength in {}, rows\n{}", unit, length_chart(stats, columns));
  return text;
}

OrderedJson stats_json(const DatasetStats& stats) {
  auto list = [](const RowList& rows) { return OrderedJson{{"rows", rows.rows}, {"first", rows.first}}; };
  OrderedJson out = {{"unit", stats.in_tokens ? "tokens" : "characters"},
                     {"rows", stats.rows},
                     {"usable", stats.usable},
                     {"without_label", stats.without_label},
                     {"truncated", stats.truncated},
                     {"rounds", stats.rounds},
                     {"length",
                      {{"sum", stats.length},
                       {"within_cutoff", stats.kept},
                       {"trained", stats.trained},
                       {"shortest", stats.shortest},
                       {"median", stats.median},
                       {"p95", stats.p95},
                       {"longest", stats.longest}}},
                     {"duplicates", list(stats.duplicates)},
                     {"unusable", list(stats.unusable)}};
  out["placeholders"] = list(stats.placeholders);
  if (stats.compared) out["overlap"] = list(stats.overlap);
  if (stats.cutoff_len > 0) out["cutoff_len"] = stats.cutoff_len;
  out["unusable"]["reasons"] = OrderedJson::array();
  for (const DroppedRow& row : stats.reasons)
    out["unusable"]["reasons"].push_back({{"row", row.origin}, {"reason", row.reason}});
  out["personal_data"] = OrderedJson::object();
  for (size_t kind = 0; kind < kPersonalDataKinds; ++kind) {
    OrderedJson entry = list(stats.personal[kind]);
    entry["found"] = stats.personal_found[kind];
    out["personal_data"][personal_data_key(static_cast<PersonalData>(kind))] = std::move(entry);
  }
  out["histogram"] = OrderedJson::array();
  for (const LengthBin& bin : stats.lengths)
    out["histogram"].push_back({{"from", bin.from}, {"to", bin.to}, {"rows", bin.rows}});
  return out;
}

}  // namespace fettle
