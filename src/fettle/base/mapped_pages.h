// Pages of files that are mapped for reading (MappedFile): the system can drop them and read them again.
#pragma once
#include <cstddef>

namespace fettle {

/// Whether `data` lies in such a file.
bool in_mapped_file(const void* data);
/// The pages wholly inside these bytes leave memory until they are read again; nothing for other memory.
void forget_mapped_pages(const void* data, size_t bytes);

}  // namespace fettle
