// Records of Parquet files.
#pragma once
#include <filesystem>

#include "fettle/data/reader.h"

namespace fettle {

/// Whether the program was built with Apache Arrow's Parquet reader.
bool reads_parquet();

/// Row by row, one row group's worth of a batch in memory: text, numbers, booleans, lists, structs, maps,
/// dates and times as text. "data.parquet:12" is the 12th row. Error(kBadInput) for damaged files and types
/// that are no JSON, and in a program without Arrow. False when the sink stopped.
bool read_parquet(const std::filesystem::path& path, const RecordSink& sink);

}  // namespace fettle
