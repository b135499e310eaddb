#!/usr/bin/env python3
"""Compares `fettle tokenize` with Hugging Face `tokenizers` on random texts.

    python3 tools/golden/tokenizer_fuzz.py --fettle build/fettle --strings 100000 DIR [DIR ...]

Every DIR is a tokenizer folder with a tokenizer.json. Texts mix scripts, white space, digits, emoji with joiners, combining
marks, control characters, unassigned and private code points, and the tokenizer's own special tokens. Ids must be
equal, and so must the text decoded from them. Prints one line a folder; the exit code is 1 when anything differs.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import tokenizers

SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", "\u00a0", "\u3000", "\u2003", "\u200b", "\u0085", "\u2028", "\x0b", "\x0c", "\r",
          " \n", "\n ", " \n \n", "\u180e", "\ufeff"]
EMOJI = ["😀", "👨\u200d👩\u200d👧", "🏳️\u200d🌈", "👍🏽", "🇩🇪", "❤️", "☺", "🤔", "1️⃣", "🫠"]
PIECES = ["'s", "'S", "'t", "'re", "'LL", "'ve", "'M", "'d", "'ſ", "I'm", "don't", "'", "''", "’s", "--", "...", "!!", "?!", "://", "_", "__init__", "e.g.",
          "\u0301", "\u0323\u0307", "\u0334", "\u093f", "\u1100\u1161\u11a8", "각", "ﬁ", "ﬀ", "Å", "é", "e\u0301", "ǆ", "İ", "ß", "ẞ", "Ω", "ⅷ", "²", "½", "①", "㎏", "ｱ", "ﾞ", "Ａ", "１",
          "\x00", "\x01", "\x1b", "\x7f", "\x80", "\xad", "\u061c", "\u202e", "\ufffd", "\ufffe", "\ue000", "\U000e0041", "\U0010fffd", "<0x0A>", "<0xE4>", "▁", "▁▁", "Ġ", "##", "##s", "[UNK]"]
RANGES = [(0x20, 0x7e), (0x20, 0x7e), (0x61, 0x7a), (0x30, 0x39), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x52f), (0x590, 0x6ff), (0x900, 0xdff), (0xe00, 0xfff),
          (0x1100, 0x11ff), (0x1e00, 0x1fff), (0x2000, 0x2bff), (0x3000, 0x30ff), (0x4e00, 0x9fff), (0x4e00, 0x57ff), (0xac00, 0xd7a3), (0xf900, 0xffff),
          (0x10000, 0x1ffff), (0x20000, 0x323af), (0xe0000, 0xe0fff), (0, 0x10ffff)]
WORDS = ("the quick brown fox jumps over lazy dogs while international misunderstanding counterrevolutionary tokens Hello World HTTPServer snake_case "
         "def return lambda x: x**2 if (a != b) && c[0] 3.14159 1,000,000 2024-07-26 我晚上睡不着 你是谁 焦虑 抑郁症 诊断 今天天气很好 こんにちは 안녕하세요 Привет мир "
         "Grüße naïve café Ελληνικά עברית العربية हिन्दी ไทย").split()


def random_text(rng, specials):
    out = []
    for _ in range(rng.randint(1, 12)):
        kind = rng.random()
        if kind < 0.30:
            out.append(rng.choice(WORDS))
        elif kind < 0.50:
            out.append(rng.choice(SPACES))
        elif kind < 0.62:
            out.append(rng.choice(PIECES))
        elif kind < 0.68:
            out.append(rng.choice(EMOJI))
        elif kind < 0.73 and specials:
            special = rng.choice(specials)
            out.append(special if rng.random() < 0.8 else special[:rng.randint(1, len(special))])
        elif kind < 0.78:
            out.append(rng.choice([" ", "a", "0", "^", "=", "。", "\n", "的"]) * rng.randint(1, 60))
        else:
            first, last = rng.choice(RANGES)
            for _ in range(rng.randint(1, 8)):
                code = rng.randint(first, last)
                if not 0xD800 <= code <= 0xDFFF:
                    out.append(chr(code))
        if rng.random() < 0.25:
            out.append(" ")
    return "".join(out)


def run(fettle, folder, lines, *flags):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8", delete=False) as file:
        file.write("".join(line + "\n" for line in lines))
    try:
        done = subprocess.run([fettle, "-q", "tokenize", "--model", folder, "--json", *flags, file.name], capture_output=True)
    finally:
        os.unlink(file.name)
    if done.returncode:
        sys.exit(f"fettle ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return [json.loads(line) for line in done.stdout.split(b"\n") if line]


def compare(fettle, folder, count, seed):
    oracle = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    oracle.no_truncation()
    oracle.no_padding()
    added = list(oracle.get_added_tokens_decoder().values())
    specials = [token.content for token in added] + [" " + token.content + " " for token in added]
    rng = random.Random(seed)
    texts = [random_text(rng, specials) for _ in range(count)]
    encoded = run(fettle, folder, [json.dumps(text, ensure_ascii=False) for text in texts], "--no-special")
    assert len(encoded) == len(texts), (len(encoded), len(texts))
    different, shown = 0, 0
    expected = [e.ids for e in oracle.encode_batch(texts, add_special_tokens=False)]
    for text, ids, want in zip(texts, encoded, expected):
        if ids != want:
            different += 1
            if shown < 5:
                shown += 1
                at = next((i for i, (a, b) in enumerate(zip(ids, want)) if a != b), min(len(ids), len(want)))
                print(f"  {text!r}: at {at} fettle {ids[at:at + 6]} tokenizers {want[at:at + 6]} {[oracle.id_to_token(i) for i in want[at:at + 6]]}")
    wrong = 0
    decoded = run(fettle, folder, [json.dumps(ids) for ids in expected], "--decode", "--keep-special")
    for ids, text, want in zip(expected, decoded, oracle.decode_batch(expected, skip_special_tokens=False)):
        if text != want:
            wrong += 1
            if wrong <= 3:
                print(f"  decode {ids[:12]}: fettle {text!r} tokenizers {want!r}")
    print(f"{os.path.basename(folder.rstrip('/')):28} {count} texts, {different} different ids, {wrong} different texts (tokenizers {tokenizers.__version__}, seed {seed})", flush=True)
    return different + wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--fettle", default="build/fettle")
    parser.add_argument("--strings", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    bad = sum(compare(arguments.fettle, folder, arguments.strings, arguments.seed) for folder in arguments.folders)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
