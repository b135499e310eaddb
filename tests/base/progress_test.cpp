#include "fettle/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fettle/base/terminal.h"
#include "support.h"

namespace fettle {
namespace {

using testing::HasSubstr;

// A progress display into a file, under a clock that the test moves.
struct Display {
  test::TempDir folder;
  std::FILE* file = std::fopen((folder / "out").c_str(), "w");
  double time = 100;
  ProgressOptions options(ProgressStyle style, int64_t total) {
    return {.label = "load",
            .total = total,
            .unit = "row",
            .line_interval = 10,
            .style = style,
            .stream = file,
            .columns = 80,
            .clock = [this] { return time; }};
  }
  std::string text() {
    std::fflush(file);
    return test::read_text(folder / "out");
  }
  ~Display() { std::fclose(file); }
};

TEST(Progress, PlainLinesComeNowAndThen) {
  Display display;
  Progress progress(display.options(ProgressStyle::kLines, 100));
  for (int i = 1; i <= 100; ++i) {
    display.time += 0.25;
    progress.update(i, "loss 1.5");
  }
  progress.finish();
  EXPECT_EQ(display.text(),
            "load: 40/100 (40%), 0:10 < 0:15, 4.00 row/s, loss 1.5\n"
            "load: 80/100 (80%), 0:20 < 0:05, 4.00 row/s, loss 1.5\n"
            "load: 100/100 (100%), 0:25 in all, 4.00 row/s, loss 1.5\n");
}

TEST(Progress, BarStaysOnOneLine) {
  Display display;
  {
    Progress progress(display.options(ProgressStyle::kBar, 10));
    for (int i = 1; i <= 10; ++i) {
      display.time += 1;
      progress.update(i);
    }
    progress.print("a line above");
    progress.finish();
  }
  const std::string text = display.text();
  EXPECT_THAT(text, HasSubstr("\rload  50% "));
  EXPECT_THAT(text, HasSubstr("5/10 [0:05 < 0:05, 1.00 row/s]"));
  EXPECT_THAT(text, HasSubstr("\r\x1b[Ka line above\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
    EXPECT_LT(display_width(std::string_view(text).substr(begin, end - begin)), 84);
    begin = end + 1;
  }
}

TEST(Progress, BarFitsNarrowTerminals) {
  Display display;
  ProgressOptions options = display.options(ProgressStyle::kBar, 10);
  options.columns = 24;
  Progress progress(options);
  display.time += 1;
  progress.update(1, "a long detail that cannot be shown");
  EXPECT_LE(display_width(display.text().substr(1)), 24 + 3);
}

TEST(Progress, UnknownTotalAndSlowRates) {
  Display display;
  Progress progress(display.options(ProgressStyle::kLines, 0));
  display.time += 40;
  progress.advance(2);
  EXPECT_EQ(display.text(), "load: 2, 0:40, 20.0 s/row\n");
}

TEST(Progress, SilentSaysNothing) {
  Display display;
  set_verbosity(Verbosity::kQuiet);
  {
    Progress progress(display.options(ProgressStyle::kAutomatic, 3));
    display.time += 60;
    progress.update(3);
    progress.print("x");
    progress.finish();
  }
  set_verbosity(Verbosity::kNormal);
  EXPECT_EQ(display.text(), "");
}

TEST(Progress, EndsItsLineWhenAbandoned) {
  Display display;
  { Progress(display.options(ProgressStyle::kBar, 3)).update(1); }
  EXPECT_EQ(display.text().back(), '\n');
}

}  // namespace
}  // namespace fettle
