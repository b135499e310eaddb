// The directory of a zip file with stored (uncompressed) entries, as torch.save writes it.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "fettle/base/file.h"

namespace fettle {

struct ZipEntry {
  uint64_t begin = 0, size = 0;  ///< bytes of the content in the file
};

/// Every stored entry by name, zip64 included. Compressed or encrypted entries, sizes that leave the file and
/// overlapping entries are refused: Error(kBadInput).
std::map<std::string, ZipEntry> read_zip_directory(const MappedFile& file);
bool looks_like_zip(const MappedFile& file);

}  // namespace fettle
