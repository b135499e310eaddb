// Encoded data sets on disk: for sets larger than memory, and for runs that come again.
#pragma once
#include <filesystem>
#include <functional>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/data/dataset.h"

namespace fettle {

/// What a set of encoded rows follows from: the program, the tokenizer, the template, the options and the
/// content of the data files, each as text or hash.
Json encoding_key(const DatasetRequest& request);

/// Fills data and `ends` from request.files, or has `encode(folder)` do so in a new folder, as request says.
/// Error(kUsage) naming what differs when kept files were made in another way.
void encode_in_files(const DatasetRequest& request, Dataset& data, std::vector<size_t>& ends,
                     const std::function<void(const std::filesystem::path& folder)>& encode);

}  // namespace fettle
