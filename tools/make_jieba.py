"""Packs the dictionary and the hidden Markov model of jieba (MIT, github.com/fxsjy/jieba) for src/fettle/text/segmenter.cpp.

    python tools/make_jieba.py        (jieba 0.42.1, zstandard)

Writes src/fettle/text/jieba/model.txt.zst: lines `word frequency`, sorted by code points; an empty line; lines
`state code-point log-probability` of the emissions.
"""

import pathlib

import jieba
import zstandard
from jieba.finalseg.prob_emit import P as EMIT

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main():
    words = {}
    for line in jieba.get_module_res("dict.txt").read().decode().splitlines():
        word, frequency = line.split(" ")[:2]
        words[word] = int(frequency)
    lines = [f"{word} {words[word]}" for word in sorted(words)] + [""]
    lines += [f"{state} {ord(char)} {EMIT[state][char]!r}" for state in "BMES" for char in sorted(EMIT[state])]
    packed = zstandard.ZstdCompressor(level=22).compress(("\n".join(lines) + "\n").encode())
    out = ROOT / "src/fettle/text/jieba/model.txt.zst"
    out.write_bytes(packed)
    print(len(words), "words", len(packed), "bytes")


if __name__ == "__main__":
    main()
