"""Writes the quickstart's two data sets and their registry. Standard library only; the same files on every run.

    python tools/quickstart/make_data.py

examples/quickstart/data/counselling.json   multi-turn dialogues in the EmoLLM form, Chinese and English
examples/quickstart/data/reasoning.json     Question / Complex_CoT / Response
examples/quickstart/data/dataset_info.json
"""

import json
import pathlib
import random

import counselling_en
import counselling_zh
import reasoning_bank as bank

DATA = pathlib.Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "data"
DIALOGUES_PER_TOPIC = 7


def spread(rng, items, count):
    """`count` draws that use every item about equally often, never twice in a row."""
    out = []
    while len(out) < count:
        deck = list(items)
        rng.shuffle(deck)
        if out and deck[0] == out[-1]:
            deck.append(deck.pop(0))
        out += deck
    return out[:count]


def counselling(lang, rng):
    """Dialogues of one language. The shape is always Fettle's: acknowledge, reflect, ask; then one small step; then rest."""
    gap, step_word = (" ", "One small step: ") if lang is counselling_en else ("", "一小步：")
    total = DIALOGUES_PER_TOPIC * len(lang.TOPICS)
    acknowledge = iter(spread(rng, lang.ACKNOWLEDGE, total))
    mirror = iter(spread(rng, lang.MIRROR, total))
    handwork = iter(spread(rng, lang.HANDWORK, total))
    close = iter(spread(rng, lang.CLOSE, total))
    dialogues = []
    for name, topic in lang.TOPICS.items():
        n = DIALOGUES_PER_TOPIC
        draws = {key: spread(rng, range(len(lines)), n) for key, lines in topic.items()}
        for i in range(n):
            chosen = {key: order[i] for key, order in draws.items()}
            chosen["ask"] = counselling_en.ANSWER_FITS_ASK[name][chosen["answer"]]
            line = {key: topic[key][index] for key, index in chosen.items()}
            fits = counselling_en.REPLY_FITS_STEP[name]
            if chosen["step"] in fits:
                line["reply"] = topic["reply"][fits.index(chosen["step"])]
            else:
                line["reply"] = rng.choice(lang.REPLIES)
            turns = [
                (line["open"], gap.join([next(acknowledge), line["reflect"], line["ask"]])),
                (line["answer"], gap.join([next(mirror), step_word + line["step"], next(handwork)])),
            ]
            if i % 3 != 2:
                turns.append((line["reply"], next(close)))
            dialogues.append(turns)
    for i, pair in enumerate(lang.IDENTITY + lang.IDENTITY[:5]):
        turns = [pair]
        if i % 2:  # a greeting or a question about the listener, then a worry
            topic = list(lang.TOPICS.values())[i]
            reply = gap.join([rng.choice(lang.ACKNOWLEDGE), topic["reflect"][i % 3], topic["ask"][i % 2]])
            turns.append((topic["open"][i % 4], reply))
        dialogues.append(turns)
    dialogues += [[pair] for pair in lang.CRISIS]
    out = []
    for i, turns in enumerate(dialogues):
        conversation = [{"input": user, "output": answer} for user, answer in turns]
        if i % 2:  # half of them with a system prompt, so that the character does not depend on it
            conversation[0] = {"system": lang.SYSTEMS[(i // 2) % 2], **conversation[0]}
        out.append({"conversation": conversation})
    return out


def reasoning(rng):
    rows = []
    rows += bank.arithmetic_en(rng)
    rows += bank.arithmetic_zh(rng)
    rows += bank.EVERYDAY_EN + bank.MEDICAL_EN + bank.EVERYDAY_ZH + bank.MEDICAL_ZH
    rows = list(dict.fromkeys(rows))  # two draws of numbers may agree
    rng.shuffle(rows)
    return [{"Question": q, "Complex_CoT": c, "Response": r} for q, c, r in rows]


def write(name, rows):
    text = "[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n"
    (DATA / name).write_text(text, encoding="utf-8")


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    rng = random.Random(2024)
    dialogues = counselling(counselling_en, rng) + counselling(counselling_zh, rng)
    rng.shuffle(dialogues)
    write("counselling.json", dialogues)
    rows = reasoning(random.Random(7))
    write("reasoning.json", rows)
    info = {
        "counselling": {"file_name": "counselling.json"},
        "reasoning": {"file_name": "reasoning.json"},
    }
    (DATA / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    turns = sum(len(d["conversation"]) for d in dialogues)
    print(f"counselling: {len(dialogues)} dialogues, {turns} turns; reasoning: {len(rows)} rows")


if __name__ == "__main__":
    main()
