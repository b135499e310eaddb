// Records into a JSON array or JSON lines.
#pragma once
#include <filesystem>

#include "fettle/base/file.h"
#include "fettle/base/json.h"

namespace fettle {

/// Writes a JSON array for ".json" and JSON lines for ".jsonl", one record after another; the file appears
/// with commit(). Error(kUsage) for another extension.
class RecordWriter {
 public:
  explicit RecordWriter(const std::filesystem::path& path);
  void write(const OrderedJson& record);
  void commit();

 private:
  void flush();
  AtomicFile file_;
  bool array_, first_ = true;
  std::string buffer_;
};

}  // namespace fettle
