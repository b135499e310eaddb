// Event files against TensorBoard's own writer (tools/golden/make_events.py); notes of runs.
#include <gtest/gtest.h>

#include "fettle/base/file.h"
#include "fettle/track/run_record.h"
#include "fettle/track/tensorboard.h"
#include "support.h"

namespace fettle {
namespace {

TEST(TensorBoard, EventsAreThoseOfItsOwnWriter) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);  // the check value of CRC-32C
  test::TempDir dir;
  write_events(dir / "events", {{1700000000.5, 0, "train/loss", 2.5f},
                                {1700000001.5, 300, "train/loss", -0.125f},
                                {1700000002.0, 300, "eval/loss", 1e-9f}});
  EXPECT_EQ(read_file(dir / "events"), read_file(test::golden_dir() / "train" / "events.tfevents"));
}

TEST(RunNotes, AreKeptAndDamageIsNothing) {
  test::TempDir dir;
  EXPECT_TRUE(read_notes(dir.path()).note.empty());
  write_notes(dir.path(), {"比较 rank", {"rank16", "night"}});
  RunNotes notes = read_notes(dir.path());
  EXPECT_EQ(notes.note, "比较 rank");
  EXPECT_EQ(notes.tags, (std::vector<std::string>{"rank16", "night"}));
  test::write_text(dir / "notes.json", "{\"note\": 3, \"tags\": [1, \"a\"]}");
  EXPECT_EQ(read_notes(dir.path()).tags, (std::vector<std::string>{"a"}));
  test::write_text(dir / "notes.json", "{broken");
  EXPECT_TRUE(read_notes(dir.path()).tags.empty());
}

}  // namespace
}  // namespace fettle
