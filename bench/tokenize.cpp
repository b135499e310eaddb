// Time to encode the lines of a text file on one thread: reads the file, encodes it a few times, prints the
// best.
//   bench_tokenize TOKENIZER_FOLDER TEXT_FILE [REPEATS]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/text/tokenizer.h"

int main(int argc, char** argv) try {
  if (argc < 3) {
    fmt::print(stderr, "usage: bench_tokenize TOKENIZER_FOLDER TEXT_FILE [REPEATS]\n");
    return 2;
  }
  using Clock = std::chrono::steady_clock;
  auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  auto start = Clock::now();
  auto tokenizer = fettle::load_tokenizer(argv[1]);
  double load = seconds(start);
  std::string text = fettle::read_file(argv[2]);
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    lines.emplace_back(text.data() + begin, end - begin);
    begin = end + 1;
  }
  double best = 1e30;
  size_t tokens = 0;
  for (int repeat = 0; repeat < (argc > 3 ? std::stoi(argv[3]) : 5); ++repeat) {
    start = Clock::now();
    tokens = 0;
    for (std::string_view line : lines) tokens += tokenizer->encode(line, false).size();
    best = std::min(best, seconds(start));
  }
  fmt::print("{{\"load_s\": {:.4f}, \"encode_s\": {:.6f}, \"tokens\": {}, \"bytes\": {}}}\n", load, best,
             tokens, text.size());
} catch (const fettle::Error& error) {
  fmt::print(stderr, "error: {}\n", error.what());
  return 3;
}
