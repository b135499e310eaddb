#include "fettle/data/parquet_records.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

#ifdef FETTLE_WITH_ARROW
#include <arrow/api.h>
#include <arrow/io/api.h>
#include <parquet/arrow/reader.h>

#include "fettle/base/utf8.h"
#endif

namespace fettle {

#ifndef FETTLE_WITH_ARROW

bool reads_parquet() {
  return false;
}

bool read_parquet(const std::filesystem::path& path, const RecordSink&) {
  fail_input(
      "{}: this program was built without Apache Arrow, which reads Parquet; convert the file to JSON lines, "
      "or build "
      "with Arrow installed (libarrow-dev, libparquet-dev)",
      path.string());
}

#else

namespace {

template <typename Type>
const typename arrow::TypeTraits<Type>::ArrayType& as(const arrow::Array& array) {
  return static_cast<const typename arrow::TypeTraits<Type>::ArrayType&>(array);
}

class RowReader {
 public:
  explicit RowReader(std::string origin) : origin_(std::move(origin)) {}

  OrderedJson value(const arrow::Array& array, int64_t row) const {
    if (array.IsNull(row)) return nullptr;
    switch (array.type_id()) {
      case arrow::Type::NA:
        return nullptr;
      case arrow::Type::BOOL:
        return as<arrow::BooleanType>(array).Value(row);
      case arrow::Type::INT8:
        return as<arrow::Int8Type>(array).Value(row);
      case arrow::Type::UINT8:
        return as<arrow::UInt8Type>(array).Value(row);
      case arrow::Type::INT16:
        return as<arrow::Int16Type>(array).Value(row);
      case arrow::Type::UINT16:
        return as<arrow::UInt16Type>(array).Value(row);
      case arrow::Type::INT32:
        return as<arrow::Int32Type>(array).Value(row);
      case arrow::Type::UINT32:
        return as<arrow::UInt32Type>(array).Value(row);
      case arrow::Type::INT64:
        return as<arrow::Int64Type>(array).Value(row);
      case arrow::Type::UINT64:
        return as<arrow::UInt64Type>(array).Value(row);
      case arrow::Type::FLOAT:
        return as<arrow::FloatType>(array).Value(row);
      case arrow::Type::DOUBLE:
        return as<arrow::DoubleType>(array).Value(row);
      case arrow::Type::STRING:
        return text(as<arrow::StringType>(array).GetView(row));
      case arrow::Type::LARGE_STRING:
        return text(as<arrow::LargeStringType>(array).GetView(row));
      case arrow::Type::LIST: {
        const auto& list = as<arrow::ListType>(array);
        return items(*list.values(), list.value_offset(row), list.value_offset(row + 1));
      }
      case arrow::Type::LARGE_LIST: {
        const auto& list = as<arrow::LargeListType>(array);
        return items(*list.values(), list.value_offset(row), list.value_offset(row + 1));
      }
      case arrow::Type::FIXED_SIZE_LIST: {
        const auto& list = static_cast<const arrow::FixedSizeListArray&>(array);
        return items(*list.values(), list.value_offset(row), list.value_offset(row + 1));
      }
      case arrow::Type::STRUCT:
        return object(static_cast<const arrow::StructArray&>(array), row);
      case arrow::Type::MAP: {
        const auto& map = static_cast<const arrow::MapArray&>(array);
        OrderedJson json = OrderedJson::object();
        for (int64_t i = map.value_offset(row); i < map.value_offset(row + 1); ++i) {
          OrderedJson key = value(*map.keys(), i);
          json[key.is_string() ? key.get<std::string>() : key.dump()] = value(*map.items(), i);
        }
        return json;
      }
      case arrow::Type::DICTIONARY: {
        const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
        return value(*dictionary.dictionary(), dictionary.GetValueIndex(row));
      }
      case arrow::Type::DATE32:
      case arrow::Type::DATE64:
      case arrow::Type::TIMESTAMP:
      case arrow::Type::TIME32:
      case arrow::Type::TIME64:
      case arrow::Type::DECIMAL128: {
        arrow::Result<std::shared_ptr<arrow::Scalar> > scalar = array.GetScalar(row);
        if (scalar.ok()) return (*scalar)->ToString();
        break;
      }
      default:
        break;
    }
    fail_input("{}: a column of type {} has no form as text, number or list", origin_,
               array.type()->ToString());
  }

 private:
  OrderedJson text(std::string_view bytes) const {
    if (first_invalid_utf8(bytes) != bytes.npos) fail_input("{}: a text is no valid UTF-8", origin_);
    return std::string(bytes);
  }
  OrderedJson items(const arrow::Array& values, int64_t begin, int64_t end) const {
    OrderedJson list = OrderedJson::array();
    for (int64_t i = begin; i < end; ++i) list.push_back(value(values, i));
    return list;
  }
  OrderedJson object(const arrow::StructArray& array, int64_t row) const {
    OrderedJson json = OrderedJson::object();
    for (int i = 0; i < array.num_fields(); ++i)
      json[array.struct_type()->field(i)->name()] = value(*array.field(i), row);
    return json;
  }
  std::string origin_;
};

template <typename Result>
auto checked(Result&& result, const std::string& origin) {
  if (!result.ok())
    fail_input("{}: no readable Parquet file: {}", origin, printable(result.status().message(), 200));
  return std::move(result).ValueOrDie();
}

}  // namespace

bool reads_parquet() {
  return true;
}

bool read_parquet(const std::filesystem::path& path, const RecordSink& sink) {
  const std::string origin = path.string();
  if (!std::filesystem::is_regular_file(path)) fail_input("{}: no such file", origin);
  std::shared_ptr<arrow::io::RandomAccessFile> file = checked(arrow::io::ReadableFile::Open(origin), origin);
  parquet::ArrowReaderProperties properties;
  properties.set_batch_size(1024);
  parquet::arrow::FileReaderBuilder builder;
  arrow::Status status = builder.Open(file);
  if (!status.ok()) fail_input("{}: no readable Parquet file: {}", origin, printable(status.message(), 200));
  builder.properties(properties);
  std::unique_ptr<parquet::arrow::FileReader> reader = checked(builder.Build(), origin);
  std::shared_ptr<arrow::RecordBatchReader> batches = checked(reader->GetRecordBatchReader(), origin);
  RowReader rows(origin);
  int64_t row = 0;
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    status = batches->ReadNext(&batch);
    if (!status.ok())
      fail_input("{}: damaged after row {}: {}", origin, row, printable(status.message(), 200));
    if (!batch) return true;
    status = batch->ValidateFull();
    if (!status.ok())
      fail_input("{}: damaged after row {}: {}", origin, row, printable(status.message(), 200));
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      Record record{
          .value = OrderedJson::object(), .origin = fmt::format("{}:{}", origin, ++row), .damage = {}};
      for (int c = 0; c < batch->num_columns(); ++c)
        record.value[batch->column_name(c)] = rows.value(*batch->column(c), i);
      if (!sink(std::move(record))) return false;
    }
  }
}

#endif

}  // namespace fettle
