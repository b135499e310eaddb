// From the names of data sets to examples ready for training.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fettle/data/batch.h"
#include "fettle/data/encode.h"
#include "fettle/data/examples.h"
#include "fettle/data/forms/forms.h"
#include "fettle/data/forms/pattern.h"
#include "fettle/data/mixing.h"
#include "fettle/text/chat.h"

namespace fettle {

struct DatasetRequest {
  std::vector<std::string> datasets;  ///< names of dataset_info.json, or paths; see find_dataset()
  std::filesystem::path dataset_dir;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< may be null when every row is tokenised already
  std::shared_ptr<const ChatTemplate> chat;    ///< may be null likewise, and for stage pt
  int64_t cutoff_len = 2048;
  Truncation truncation = Truncation::kTurns;
  std::optional<int64_t> max_samples;  ///< the first so many rows of each data set
  bool train_on_prompt = false, mask_history = false;
  std::string default_system;
  /// Rows of data sets without a pattern of their own are put together by this one; may be null.
  std::shared_ptr<const PromptPattern> pattern;
  /// "sft" (dialogues), "pt" (plain text), "rm" and "dpo" (preference pairs: every row has the chosen and the
  /// rejected side as two samples), "classification" (the label of the last token is the class).
  std::string stage = "sft";
  /// Stage pt: texts end to end in blocks of cutoff_len (default), or one by one. Stage sft: whether
  /// pack_rows() shall follow.
  std::optional<bool> packing;
  MixStrategy mix_strategy = MixStrategy::kConcat;
  std::vector<double> interleave_probs;  ///< share of each data set; empty: in turn
  int64_t vocab_size = 0;
  uint64_t seed = 42;
  /// Encoded rows go to files in this folder and stay out of memory; empty: in memory.
  std::filesystem::path files;
  /// What was encoded before is taken from `files` when it was made of the same data in the same way, and
  /// kept there for later; else the files disappear with the process.
  bool keep_files = false;
  bool overwrite_files = false;  ///< make them anew
  std::string template_options;  ///< what the template was made with, to know kept files by
  std::function<void(int64_t, int64_t)>
      progress;  ///< rows done, rows in all (0: not known); called by one thread
};

struct DroppedRow {
  std::string origin, reason;
};

struct Dataset {
  Examples examples;                     ///< with their origins, file:line; of a block its first text's
  std::vector<std::string> notes;        ///< what was dropped, cut or looks wrong, for the user
  std::vector<DroppedRow> dropped_rows;  ///< the first 1,000
  int64_t rows_read = 0;
  int64_t dropped = 0;        ///< rows that do not fit, those without a label included
  int64_t without_label = 0;  ///< rows that lost all labels
  int64_t truncated = 0;
  std::vector<std::string> label_names;  ///< stage classification, by class number; empty: labels are numbers
};

/// The entry of one of request.datasets, with the request's pattern where it has none of its own. Errors as
/// find_dataset().
DatasetEntry dataset_entry(const DatasetRequest& request, const std::string& name);

/// Reads, converts and encodes, in the order of the rows whatever the number of threads; holds only a few
/// thousand rows besides the result. Error(kUsage) for an unknown name; Error(kBadInput) for files that
/// cannot be used, for an id that the model does not have (with the row), and when no row, or less than half
/// of them, has anything to learn.
Dataset load_dataset(const DatasetRequest& request);

/// One row as training would take it, for people who look before they train.
struct InspectedRow {
  Form form = Form::kAlpaca;
  std::string problem;  ///< not empty: training drops the row, and why
  bool truncated = false, without_label = false;
  bool placeholder = false;  ///< holds {{name}} or {{author}}, which are to be replaced
  int64_t rounds = 0;        ///< answers of a conversation
  /// As trained, and before cutoff_len; empty without a tokenizer. A plain text is shown alone, though stage
  /// pt joins texts into blocks. A preference pair has two samples, chosen and rejected. Of a labelled text
  /// the last token's label is the class.
  Example example, whole;
  std::string label;                               ///< of a labelled text, as the row spells it
  int64_t characters = 0, trained_characters = 0;  ///< of the texts without template
  std::string text;      ///< the texts, a line for each turn, when there is no tokenizer
  uint64_t content = 0;  ///< hash of what the row says; 0 when it cannot be used
};

/// Hands out the rows of load_dataset() instead of gathering them. Without a template, or a tokenizer for
/// plain text and token ids, rows are read but not encoded. Rows that cannot be used and lines that are no
/// JSON are handed out too, and never an error. `wanted` (by row number from 0, counted over all data sets)
/// spares the rows that need no work; they are not handed out. Returns the notes of the data sets.
std::vector<std::string> inspect_dataset(const DatasetRequest& request,
                                         const std::function<bool(int64_t row)>& wanted,
                                         const std::function<void(Record&&, InspectedRow&&)>& take);

/// Takes `val_size` examples (below 1: that share, rounded up) out of `data`: those that
/// datasets.Dataset.train_test_split(seed) takes. The others keep the order of its permutation. Error(kUsage)
/// when nothing is left on either side.
Dataset split_validation(Dataset& data, double val_size, uint64_t seed);

/// Puts samples together in rows of at most `cutoff_len` tokens, best fit, each seeing only itself.
void pack_rows(Dataset& data, int64_t cutoff_len);

}  // namespace fettle
