// Plain lines, comma and tab separated values.
#pragma once
#include <string>

#include "fettle/data/reader.h"
#include "fettle/data/source.h"

namespace fettle {

/// False when the sink stopped.
bool read_text_lines(TextSource& source, const std::string& origin, const RecordSink& sink);
/// RFC 4180 for ','; with '\t' a quotation mark is a character like others. The first row names the fields.
bool read_separated(TextSource& source, char separator, const std::string& origin, const RecordSink& sink);

}  // namespace fettle
