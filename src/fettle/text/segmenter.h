// Chinese text into words, as jieba 0.42.1 cuts it: what ROUGE of Chinese is counted over.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

/// jieba.cut(text): the likeliest path through a dictionary of words, and a hidden Markov model for runs of
/// characters that are no word. White space and marks are words of their own. Invalid UTF-8 becomes U+FFFD.
std::vector<std::u32string> segment_words(std::string_view text);

/// UTF-8 to code points.
std::u32string to_code_points(std::string_view text);

}  // namespace fettle
