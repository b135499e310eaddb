// What a file is when it is not what its name promises.
#pragma once
#include <string>
#include <string_view>

#include "fettle/base/file.h"

namespace fettle {

/// Up to `count` leading bytes of the file.
std::string_view first_bytes(const MappedFile& file, size_t count);

/// "this is a Git LFS pointer, not the file itself; …" for the files that downloads commonly leave behind
/// instead of weights, else "this is not <expected>".
std::string foreign_file_hint(const MappedFile& file, std::string_view expected);

}  // namespace fettle
