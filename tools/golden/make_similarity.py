"""Texts, their words by jieba, and what LLaMA-Factory's ComputeSimilarity makes of pairs of them.

    python tools/golden/make_similarity.py        (jieba 0.42.1, rouge_chinese, nltk)

Writes tests/golden/text/similarity.json. Texts: the bundled dialogues, and random mixtures of their pieces with marks,
white space, numbers and letters.
"""

import json
import pathlib
import random

import jieba
import nltk
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_chinese import Rouge

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKS = ["。", "！", "？”", "?", "……", "......", "\n", "  ", "\t", "，", "“你好。”", "3.5%", "C++", "a-b_c", "GPT4", "𠀀", "é", "😀", "\u3000", "\r\n", "”", "1,000"]


def scores(prediction, label):
    hypothesis, reference = list(jieba.cut(prediction)), list(jieba.cut(label))
    if len(" ".join(hypothesis).split()) == 0 or len(" ".join(reference).split()) == 0:
        result = {"rouge-1": 0.0, "rouge-2": 0.0, "rouge-l": 0.0}
    else:
        found = Rouge().get_scores(" ".join(hypothesis), " ".join(reference))[0]
        result = {k: v["f"] * 100 for k, v in found.items()}
    result["bleu-4"] = 100 * sentence_bleu([list(label)], list(prediction), smoothing_function=SmoothingFunction().method3)
    return result


def main():
    jieba.setLogLevel(60)
    rng = random.Random(7)
    texts = []
    for file in sorted((ROOT / "examples/quickstart/data").glob("*.json*")):
        if file.name == "dataset_info.json":
            continue
        raw = file.read_text()
        rows = json.loads(raw) if raw.lstrip().startswith("[") else map(json.loads, raw.splitlines())
        for row in rows:
            texts += [v for v in _strings(row) if len(v) > 4]
    rng.shuffle(texts)
    texts = texts[:150]
    pairs = [(rng.choice(texts), rng.choice(texts)) for _ in range(40)]
    for text in texts[:60]:
        at = rng.randrange(len(text))
        pairs.append((text[:at] + rng.choice(MARKS) + text[at:], text))
    pairs += [("", "好"), ("好", ""), (" ", "好"), ("好", "好"), ("ab", "ab"), ("abc", "abd"), ("好 ", "好")]
    for _ in range(120):
        pieces = [rng.choice(texts)[a : a + rng.randrange(1, 9)] for a in (rng.randrange(12) for _ in range(6))]
        texts.append("".join(p + rng.choice(MARKS) for p in pieces))
    # The longest runs of characters that are no word, for the model behind the dictionary.
    texts += ["".join(chr(rng.randrange(0x4E00, 0x9FA6)) for _ in range(12)) for _ in range(60)]
    golden = {
        "versions": {"jieba": jieba.__version__, "nltk": nltk.__version__},
        "words": [[t, list(jieba.cut(t))] for t in texts],
        "pairs": [[p, l, scores(p, l)] for p, l in pairs],
    }
    path = ROOT / "tests/golden/text/similarity.json"
    path.write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(len(golden["words"]), "texts", len(golden["pairs"]), "pairs", path.stat().st_size, "bytes")


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for v in value:
            yield from _strings(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from _strings(v)


if __name__ == "__main__":
    main()
