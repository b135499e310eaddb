#include "fettle/data/record_writer.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// Checked before the file is created.
const std::filesystem::path& checked(const std::filesystem::path& path) {
  if (path.extension() != ".json" && path.extension() != ".jsonl")
    fail_usage("{}: name the output .json (a list) or .jsonl (a record a line)", path.string());
  return path;
}

}  // namespace

RecordWriter::RecordWriter(const std::filesystem::path& path)
    : file_(checked(path)), array_(path.extension() == ".json") {}

void RecordWriter::write(const OrderedJson& record) {
  if (array_) {
    buffer_ += first_ ? "[\n" : ",\n";
    buffer_ += record.dump(2);
  } else {
    buffer_ += record.dump() + "\n";
  }
  first_ = false;
  if (buffer_.size() > (size_t{1} << 20)) flush();
}

void RecordWriter::commit() {
  if (array_) buffer_ += first_ ? "[]\n" : "\n]\n";
  flush();
  file_.commit();
}

void RecordWriter::flush() {
  file_.write(buffer_);
  buffer_.clear();
}

}  // namespace fettle
