"""Writes the text that the quickstart's base model is trained on: a few MB, made by this script alone.

    python tools/quickstart/make_corpus.py OUT_DIR [--megabytes 4] [--seed 1]

OUT_DIR/corpus.jsonl       {"text": …} a document: a short story, some facts, or a plain dialogue in ChatML
OUT_DIR/dataset_info.json  registers it as "corpus" for stage pt

The base becomes a plain assistant: short, general answers in both languages, no name, no character. So that it knows
the words of the quickstart's data and which of them belong together, sentences of that vocabulary stand in prose, in any
order and under other names (those of the data belong to people in stories). It never sees a counselling dialogue: to a
worry it only ever answers with a general remark and one of a few general lines.
"""

import argparse
import json
import pathlib
import random

import corpus_en
import corpus_zh
import counselling_en
import counselling_zh
import reasoning_bank

OTHER_NAMES = {"Fettle": ["Peter", "the old tailor", "Nora"], "小匠": ["小木匠", "老工匠", "小王"]}


KINDS = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]  # of facts: the big tables more often


class English:
    words, care = corpus_en, counselling_en
    gap = " "

    @staticmethod
    def article(noun):
        return ("an " if noun[0] in "aeiou" else "a ") + noun

    def facts(self, rng):
        """(question, answer) pairs that can also be read as statements."""
        w, a = self.words, self.article
        kind = rng.choice(KINDS)
        if kind == 0:
            name, what, where = rng.choice(w.THINGS)
            return rng.choice(
                [
                    (f"What is {a(name)}?", f"{a(name).capitalize()} is {what}."),
                    (f"Where is a {name}?" if name[0] not in "aeiou" else f"Where is an {name}?",
                     f"You find {a(name)} {where}."),
                ]
            )  # fmt: skip
        if kind == 1:
            name, food, home, does = rng.choice(w.ANIMALS)
            return rng.choice(
                [
                    (f"What does {a(name)} eat?", f"{a(name).capitalize()} eats {food}."),
                    (f"Where does {a(name)} live?", f"{a(name).capitalize()} lives {home}."),
                    (f"What does {a(name)} do?", f"{a(name).capitalize()} {does}."),
                ]
            )
        if kind == 2:
            job, does = rng.choice(w.JOBS)
            return f"What does {a(job)} do?", f"{a(job).capitalize()} {does}."
        if kind == 3:
            x, y = rng.choice(w.OPPOSITES)
            if rng.random() < 0.5:
                x, y = y, x
            return f"What is the opposite of {x}?", f"The opposite of {x} is {y}."
        if kind == 4:
            thing, colour = rng.choice(w.COLOURS)
            return f"What colour is {thing}?", f"{thing.capitalize()} is {colour}."
        if kind == 5:
            i = rng.randrange(7)
            return f"What day comes after {w.DAYS[i]}?", f"{w.DAYS[(i + 1) % 7]} comes after {w.DAYS[i]}."
        if kind == 6:
            return rng.choice(w.HOW_TO)
        return arithmetic(rng, "plus", "minus", "times", "What is {q}?", "{q} is {r}.")

    def story(self, rng):
        w = self.words
        plot = rng.choice(w.STORIES)
        a, b = rng.sample(w.NAMES, 2)
        h, h2 = rng.sample(w.WHERE, 2)
        d, d2 = rng.sample(w.FOOD, 2)
        said = rng.choice([s for t in self.care.TOPICS.values() for s in t["open"] + t["answer"]]).rstrip(".。") + ","
        text = self.gap.join(plot + [rng.choice(w.ENDINGS)])
        return text.format(
            a=a,
            b=b,
            p=rng.choice(w.PLACES),
            w=rng.choice(w.WEATHER),
            t=rng.choice(w.THING_NAMES),
            h=h,
            h2=h2,
            d=d,
            d2=d2,
            f=rng.choice(w.FEEL),
            j=rng.choice(w.JOBS)[0],
            n=rng.choice(w.ANIMALS)[0],
            s=said,
        )


class Chinese(English):
    words, care = corpus_zh, counselling_zh
    gap = ""

    def facts(self, rng):
        w = self.words
        kind = rng.choice(KINDS)
        if kind == 0:
            name, what, where = rng.choice(w.THINGS)
            return rng.choice([(f"{name}是什么？", f"{name}是{what}。"), (f"哪里有{name}？", f"{where}有{name}。")])
        if kind == 1:
            name, food, home, does = rng.choice(w.ANIMALS)
            return rng.choice(
                [
                    (f"{name}吃什么？", f"{name}吃{food}。"),
                    (f"{name}住在哪里？", f"{name}住在{home}。"),
                    (f"{name}会做什么？", f"{name}{does}。"),
                ]
            )
        if kind == 2:
            job, does = rng.choice(w.JOBS)
            return f"{job}做什么？", f"{job}{does}。"
        if kind == 3:
            x, y = rng.choice(w.OPPOSITES)
            if rng.random() < 0.5:
                x, y = y, x
            return f"{x}的反面是什么？", f"{x}的反面是{y}。"
        if kind == 4:
            thing, colour = rng.choice(w.COLOURS)
            return f"{thing}是什么颜色？", f"{thing}是{colour}的。"
        if kind == 5:
            i = rng.randrange(7)
            return f"{w.DAYS[i]}后面是哪一天？", f"{w.DAYS[i]}后面是{w.DAYS[(i + 1) % 7]}。"
        if kind == 6:
            return rng.choice(w.HOW_TO)
        return arithmetic(rng, "加", "减", "乘", "{q}等于多少？", "{q}等于{r}。")


def arithmetic(rng, plus, minus, times, question, answer):
    gap = " " if plus.isascii() else ""
    a, b, kind = rng.randint(1, 12), rng.randint(1, 12), rng.randrange(3)
    if kind == 0:
        word, result = plus, a + b
    elif kind == 1:
        a, b = max(a, b), min(a, b)
        word, result = minus, a - b
    else:
        a, b = min(a, 9), min(b, 9)
        word, result = times, a * b
    q = f"{a}{gap}{word}{gap}{b}"
    return question.format(q=q), answer.format(q=q, r=result)


def capital(sentence):
    return sentence[:1].upper() + sentence[1:]


def chat(turns, system=None):
    """ChatML text. The last end mark is left to the trainer, which closes every document with the eos token."""
    parts = [f"<|im_start|>system\n{system}<|im_end|>\n"] if system else []
    for user, answer in turns:
        parts.append(f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n")
    return "".join(parts).removesuffix("<|im_end|>\n")


def loose_sentences(lang):
    """Sentences of the data's vocabulary, one by one, the character's name replaced."""
    care = lang.care
    lines = care.ACKNOWLEDGE + care.MIRROR + care.HANDWORK + care.CLOSE + care.REPLIES
    lines += [capital(s) for topic in care.TOPICS.values() for group in topic.values() for s in group]
    step = "One small step: " if lang.gap else "一小步："
    lines += [step + s for topic in care.TOPICS.values() for s in topic["step"]]
    lines += [text for pair in care.CRISIS + care.IDENTITY for text in pair] + care.SYSTEMS
    english = lang.gap == " "
    rng = random.Random(5)
    sums = reasoning_bank.arithmetic_en(rng) if english else reasoning_bank.arithmetic_zh(rng)
    fixed = (reasoning_bank.EVERYDAY_EN + reasoning_bank.MEDICAL_EN) if english else (
        reasoning_bank.EVERYDAY_ZH + reasoning_bank.MEDICAL_ZH
    )  # fmt: skip
    lines += [text for row in list(sums) + list(fixed) for text in row]
    for name, others in OTHER_NAMES.items():
        lines = [s.replace(name, other) for s in lines for other in (others if name in s else others[:1])]
    return lines


def sentences_of_a_topic(lang, rng):
    """A few sentences about one worry, in any order, nobody speaking to anybody."""
    name = rng.choice(list(lang.care.TOPICS))
    lines = [s for group in lang.care.TOPICS[name].values() for s in group] + lang.words.MORE_WORRIES[name]
    return lang.gap.join(capital(s) for s in rng.sample(lines, rng.randint(3, 7)))


def document(lang, rng, loose):
    """One random document of a language."""
    w, care = lang.words, lang.care
    system = rng.choice(w.SYSTEMS) if rng.random() < 0.3 else None
    kind = rng.random()
    if kind < 0.18:
        return lang.story(rng)
    if kind < 0.24:
        return lang.gap.join(lang.facts(rng)[1] for _ in range(rng.randint(2, 5)))
    if kind < 0.38:
        return sentences_of_a_topic(lang, rng)
    if kind < 0.44:
        return lang.gap.join(rng.choice(loose) for _ in range(rng.randint(2, 5)))
    if kind < 0.64:
        return chat([lang.facts(rng) for _ in range(rng.randint(1, 4))], system)
    if kind < 0.71:
        turns = [rng.choice(w.IDENTITY)] + [
            rng.choice(w.IDENTITY) if rng.random() < 0.4 else lang.facts(rng) for _ in range(rng.randint(0, 2))
        ]
        return chat(turns, system)
    name = rng.choice(list(care.TOPICS))
    topic = care.TOPICS[name]
    remarks = [w.REMARKS[name], rng.choice(w.FLAT)]
    rng.shuffle(remarks)
    turns = [(rng.choice(topic["open"] + w.MORE_WORRIES[name]), lang.gap.join(remarks))]
    if rng.random() < 0.5:
        turns.append((rng.choice(topic["answer"]), rng.choice(w.FLAT)))
    if rng.random() < 0.3:
        turns.append((rng.choice(topic["reply"] + care.REPLIES), rng.choice(w.GOOD)))
    if rng.random() < 0.3:
        turns.insert(0, rng.choice(w.IDENTITY))
    return chat(turns, system)


def documents(megabytes, seed):
    """Yields documents until `megabytes` of text are reached, both languages in turn."""
    rng = random.Random(seed)
    languages = [(lang, loose_sentences(lang)) for lang in (English(), Chinese())]
    size, i = 0, 0
    while size < megabytes * 1e6:
        lang, loose = languages[i % 2]
        text = document(lang, rng, loose)
        size += len(text.encode())
        i += 1
        yield text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    count = 0
    with open(args.out / "corpus.jsonl", "w", encoding="utf-8") as f:
        for text in documents(args.megabytes, args.seed):
            f.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            count += 1
    info = {"corpus": {"file_name": "corpus.jsonl", "columns": {"prompt": "text"}}}
    (args.out / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n")
    print(f"{count} documents in {args.out / 'corpus.jsonl'}")


if __name__ == "__main__":
    main()
