// JSON arrays, JSON lines and JSON values one after another, cut into records without holding the file.
#pragma once
#include <string>

#include "fettle/data/reader.h"
#include "fettle/data/source.h"

namespace fettle {

inline constexpr size_t kMaxRecordBytes = size_t{256} << 20;

/// False when the sink stopped.
bool read_json_records(TextSource& source, const std::string& origin, const RecordSink& sink,
                       DamagedLine damaged = DamagedLine::kRefuse);

}  // namespace fettle
