#!/usr/bin/env python3
"""Writes src/fettle/text/unicode_ranges.inc: the character classes of Hugging Face `tokenizers`, asked of the library itself.

`tokenizers` mixes several generations of Unicode: its regex engines are newer than the crate behind its BERT classes,
and that is newer than the one behind NFC. Exact ids need each class as that library sees it, so this script asks it about
every code point instead of copying a version of the Unicode database.

    python3 tools/golden/make_unicode_ranges.py        (tokenizers 0.23.3)
"""
import os
import tokenizers
from tokenizers import Regex, normalizers as N, pre_tokenizers as P

CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def removed_by(pre_tokenizer, chunk=2000):
    """Code points that a pre-tokenizer drops when they stand in a text."""
    out = set()
    for i in range(0, len(CODES), chunk):
        codes = CODES[i:i + chunk]
        kept = set()
        for piece, _ in pre_tokenizer.pre_tokenize_str("".join(map(chr, codes))):
            kept.update(piece)
        out.update(c for c in codes if chr(c) not in kept)
    return out


def onig(pattern):
    return removed_by(P.Split(Regex(pattern), "removed"))


def isolated_by(pre_tokenizer, between):
    out = set()
    for i in range(0, len(CODES), 1000):
        codes = CODES[i:i + 1000]
        text = between + "".join(chr(c) + between for c in codes)
        pieces = {piece for piece, _ in pre_tokenizer.pre_tokenize_str(text)}
        out.update(c for c in codes if chr(c) in pieces)
    out.discard(ord(between))
    return out


def rust_word():
    cut = P.Whitespace()
    return {c for c in CODES if [p for p, _ in cut.pre_tokenize_str("a" + chr(c) + "!")] == ["a" + chr(c), "!"]}


def bert(**flags):
    full = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return N.BertNormalizer(**{**full, **flags})


def removed(normalizer):
    return {c for c in CODES if normalizer.normalize_str("a" + chr(c) + "a") == "aa"}


# A mark of class 0 does not move when U+0334 (class 1) follows it.
NFD, NFC = N.NFD(), N.NFC()
lower = N.Lowercase()
cleaned = bert(clean_text=True)
letters = onig(r"\p{L}")
classes = {
    "kLetter": letters,
    "kNumber": onig(r"\p{N}"),
    "kMark": onig(r"\p{M}"),
    "kPunctuation": onig(r"\p{P}"),
    "kSymbol": onig(r"\p{S}"),
    "kSpace": onig(r"\s"),
    "kNumeric": isolated_by(P.Digits(individual_digits=True), "a"),
    "kWord": rust_word(),
    "kBertPunctuation": isolated_by(P.BertPreTokenizer(), "a"),
    "kBertControl": removed(cleaned),
    "kBertSpace": {c for c in CODES if cleaned.normalize_str("a" + chr(c) + "b") == "a b"},
    "kChinese": {c for c in CODES if bert(handle_chinese_chars=True).normalize_str(chr(c)) != chr(c)},
    "kAccent": {c for c in CODES if bert(strip_accents=True).normalize_str("a" + chr(c)) == "a"},
    "kMarkToStrip": removed(N.StripAccents()),
    "kReordered": {c for c in CODES if c != 0x334 and NFD.normalize_str("a" + chr(c) + "\u0334").startswith("a\u0334")},
    "kChangedByNfc": {c for c in CODES if NFC.normalize_str(chr(c)) != chr(c)},
}


def ranges(codes):
    out = []
    for c in sorted(codes):
        # Surrogates are in no text: a range may run across them.
        if out and (out[-1][1] == c - 1 or (out[-1][1], c) == (0xD7FF, 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def lines(cells):
    line = ""
    for cell in cells:
        if len(line) + len(cell) > 108:
            yield line
            line = ""
        line += cell
    yield line


path = os.path.join(os.path.dirname(__file__), "../../src/fettle/text/unicode_ranges.inc")
with open(path, "w") as out:
    out.write("// clang-format off\n")
    out.write(f"// Made by tools/golden/make_unicode_ranges.py from tokenizers {tokenizers.__version__}; first and last code point of each run.\n")
    for name, codes in classes.items():
        found = ranges(codes)
        out.write(f"constexpr Range {name}Ranges[] = {{\n")
        out.write("\n".join(lines(f"{{0x{a:X},0x{b:X}}}," for a, b in found)) + "};\n")
    # Lower case of single code points, as runs of equal distance and step.
    pairs = [(c, lower.normalize_str(chr(c))) for c in CODES if lower.normalize_str(chr(c)) != chr(c)]
    runs = []
    for c, text in pairs:
        if len(text) > 1:
            assert c == 0x130, hex(c)
            continue
        d = ord(text) - c
        if runs and runs[-1][3] == d and runs[-1][1] == c - runs[-1][2]:
            runs[-1][1] = c
        elif runs and runs[-1][3] == d and runs[-1][0] == runs[-1][1] and c - runs[-1][1] == 2:
            runs[-1][1:3] = [c, 2]
        else:
            runs.append([c, c, 1, d])
    out.write("// First, last, step, distance to the lower case.\nconstexpr LowerRun kLowerRuns[] = {\n")
    out.write("\n".join(lines(f"{{0x{a:X},0x{b:X},{s},{d}}}," for a, b, s, d in runs)) + "};\n")
    print({name: len(ranges(codes)) for name, codes in classes.items()}, "lower runs", len(runs))
