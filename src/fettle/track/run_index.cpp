#include "fettle/track/run_index.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr int kVersion = 1, kWaitMilliseconds = 250;
constexpr size_t kValues =
    5;  // of a point in the blob: step, loss, learning rate, norm, eval_loss; NaN: not logged

constexpr const char* kColumns =
    "name, step, total_steps, tokens, tokens_per_second, elapsed, train_loss, best_metric, best_step, "
    "options, points";
constexpr const char* kSchema = R"(
CREATE TABLE runs(
  folder TEXT PRIMARY KEY, signature TEXT NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL,
  total_steps INTEGER NOT NULL, tokens INTEGER NOT NULL, tokens_per_second REAL NOT NULL,
  elapsed TEXT NOT NULL, train_loss REAL, best_metric REAL, best_step INTEGER NOT NULL,
  options TEXT NOT NULL, points BLOB NOT NULL) WITHOUT ROWID)";

// A prepared statement. One that could not be prepared has no rows.
class Statement {
 public:
  Statement(sqlite3* database, const std::string& sql) {
    sqlite3_prepare_v2(database, sql.c_str(), -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  /// The next row; its columns are read from left to right.
  bool row() {
    read_ = 0;
    return statement_ && sqlite3_step(statement_) == SQLITE_ROW;
  }
  bool done() { return statement_ && sqlite3_step(statement_) == SQLITE_DONE; }

  Statement& bind(const std::string& text) {
    sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  Statement& bind(int64_t value) { return sqlite3_bind_int64(statement_, ++bound_, value), *this; }
  Statement& bind(double value) { return sqlite3_bind_double(statement_, ++bound_, value), *this; }
  Statement& bind(const std::optional<double>& value) {
    return value ? bind(*value) : (sqlite3_bind_null(statement_, ++bound_), *this);
  }
  Statement& bind(const std::vector<double>& values) {
    sqlite3_bind_blob64(statement_, ++bound_, values.data(), values.size() * sizeof(double),
                        SQLITE_TRANSIENT);
    return *this;
  }

  std::string text() {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, read_));
    return {bytes ? bytes : "", static_cast<size_t>(sqlite3_column_bytes(statement_, read_++))};
  }
  int64_t integer() { return sqlite3_column_int64(statement_, read_++); }
  double real() { return sqlite3_column_double(statement_, read_++); }
  std::optional<double> maybe_real() {
    if (sqlite3_column_type(statement_, read_) == SQLITE_NULL) return ++read_, std::nullopt;
    return real();
  }
  std::vector<double> reals() {
    const void* bytes = sqlite3_column_blob(statement_, read_);
    std::vector<double> values(static_cast<size_t>(sqlite3_column_bytes(statement_, read_++)) /
                               sizeof(double));
    if (!values.empty()) std::memcpy(values.data(), bytes, values.size() * sizeof(double));
    return values;
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0, read_ = 0;
};

std::string signature(const fs::path& folder) {
  std::string all;
  for (const char* name :
       {"trainer_log.jsonl", "run_config.yaml", "train_results.json", "trainer_state.json"}) {
    struct stat s {};
    if (::stat((folder / name).c_str(), &s) == 0)
      all += fmt::format("{}:{}.{:09};", s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    else
      all += "-;";
  }
  return all;
}

std::string key_of(const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(folder, error);
  return (error ? fs::absolute(folder) : whole).string();
}

std::vector<double> as_values(const std::vector<RunPoint>& points) {
  constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> values;
  values.reserve(points.size() * kValues);
  for (const RunPoint& p : points) {
    values.push_back(static_cast<double>(p.step));
    for (const auto& value : {p.loss, p.learning_rate, p.grad_norm, p.eval_loss})
      values.push_back(value.value_or(kMissing));
  }
  return values;
}

std::vector<RunPoint> as_points(const std::vector<double>& values) {
  auto maybe = [](double value) { return std::isnan(value) ? std::nullopt : std::optional(value); };
  std::vector<RunPoint> points;
  for (size_t i = 0; i + kValues <= values.size(); i += kValues)
    points.push_back({.step = std::llround(values[i]),
                      .loss = maybe(values[i + 1]),
                      .learning_rate = maybe(values[i + 2]),
                      .grad_norm = maybe(values[i + 3]),
                      .eval_loss = maybe(values[i + 4])});
  return points;
}

}  // namespace

struct RunIndex::Database {
  sqlite3* handle = nullptr;
  fs::path file;
  bool in_transaction = false, damaged = false;

  ~Database() {
    if (in_transaction) run("COMMIT");
    sqlite3_close(handle);
    std::error_code error;
    if (damaged) fs::remove(file, error);
  }
  // Damage deep inside shows only when its page is read; the next index starts anew.
  void look_for_damage() {
    const int code = sqlite3_errcode(handle);
    damaged = damaged || code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
  }
  bool run(const std::string& sql) {
    return sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
  }

  /// Whether changes can be made; they are kept together when the index is closed.
  bool begin() {
    if (!in_transaction) in_transaction = run("BEGIN IMMEDIATE");
    return in_transaction;
  }

  static std::unique_ptr<Database> open(const fs::path& file) {
    auto database = std::make_unique<Database>();
    database->file = file;
    if (sqlite3_open_v2(file.c_str(), &database->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        nullptr) != SQLITE_OK)
      return nullptr;
    sqlite3_busy_timeout(database->handle, kWaitMilliseconds);
    sqlite3_db_config(database->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    return database;
  }
  /// Whether the file holds our table, made now when the file is new. `busy`: another process keeps it.
  bool ready(bool& busy) {
    int version = -1;
    {
      Statement asked(handle, "PRAGMA user_version");
      if (asked.row()) version = static_cast<int>(asked.integer());
    }
    busy = sqlite3_errcode(handle) == SQLITE_BUSY;
    if (version == 0) {
      const bool made =
          run("BEGIN IMMEDIATE") && run(kSchema) && run(fmt::format("PRAGMA user_version = {}", kVersion));
      busy = sqlite3_errcode(handle) == SQLITE_BUSY;
      return run(made ? "COMMIT" : "ROLLBACK") && made;
    }
    return version == kVersion &&
           run(fmt::format("SELECT folder, signature, {} FROM runs LIMIT 1", kColumns));
  }
};

RunIndex::RunIndex(const fs::path& file) {
  if (file.empty()) return;
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  for (int attempt = 0; attempt < 2 && !database_; ++attempt) {
    std::unique_ptr<Database> opened = Database::open(file);
    if (!opened) return;
    bool busy = false;
    if (opened->ready(busy)) {
      database_ = std::move(opened);
    } else {
      opened.reset();
      // Not ours, or damaged: it holds nothing that cannot be read again.
      if (busy || !fs::is_regular_file(file, error)) return;
      fs::remove(file, error);
    }
  }
}

RunIndex::~RunIndex() = default;

RunFolder RunIndex::read(const fs::path& folder) {
  if (!database_) return read_run_folder(folder);
  const std::string key = key_of(folder), now = signature(folder);
  {
    Statement found(database_->handle,
                    fmt::format("SELECT {} FROM runs WHERE folder = ? AND signature = ?", kColumns));
    if (found.bind(key).bind(now).row()) {
      RunFolder run;
      run.path = folder;
      run.name = found.text();
      run.step = found.integer();
      run.total_steps = found.integer();
      run.tokens = found.integer();
      run.tokens_per_second = found.real();
      run.elapsed = found.text();
      run.train_loss = found.maybe_real();
      run.best_metric = found.maybe_real();
      run.best_step = found.integer();
      const Json options = Json::parse(found.text(), nullptr, false);
      if (options.is_object()) {
        for (const auto& [option, value] : options.items())
          if (value.is_string()) run.options[option] = value.get<std::string>();
        run.points = as_points(found.reals());
        refresh_status(run);
        ++hits_;
        return run;
      }
    }
    database_->look_for_damage();
  }
  RunFolder run = read_run_folder(folder);
  if (database_->begin()) {
    Statement kept(database_->handle,
                   "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    kept.bind(key).bind(now).bind(run.name).bind(run.step).bind(run.total_steps).bind(run.tokens);
    kept.bind(run.tokens_per_second)
        .bind(run.elapsed)
        .bind(run.train_loss)
        .bind(run.best_metric)
        .bind(run.best_step);
    kept.bind(Json(run.options).dump(-1, ' ', false, Json::error_handler_t::replace))
        .bind(as_values(run.points))
        .done();
    database_->look_for_damage();
  }
  return run;
}

void RunIndex::forget_missing(const fs::path& root) {
  if (!database_) return;
  std::string prefix = key_of(root);
  if (!prefix.ends_with('/')) prefix += '/';
  std::vector<std::string> gone;
  {
    Statement all(database_->handle, "SELECT folder FROM runs WHERE substr(folder, 1, length(?)) = ?");
    all.bind(prefix).bind(prefix);
    while (all.row())
      if (std::string folder = all.text(); !is_run_folder(folder)) gone.push_back(folder);
  }
  if (gone.empty() || !database_->begin()) return;
  for (const std::string& folder : gone)
    Statement(database_->handle, "DELETE FROM runs WHERE folder = ?").bind(folder).done();
}

fs::path default_run_index() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return fs::path(cache) / "fettle/runs.sqlite";
  if (const char* home = std::getenv("HOME"); home && *home)
    return fs::path(home) / ".cache/fettle/runs.sqlite";
  return {};
}

}  // namespace fettle
