"""Known answers for data sets, made by LLaMA-Factory's own converters and processors.

    pip install --no-deps llamafactory==0.9.5
    /path/to/python tools/golden/make_data.py

Its data package imports media libraries that text does not need, so the modules are loaded one by one. Writes
tests/golden/data/llamafactory.json: conversions of rows, ids and labels of (source, target) pairs under cutoff_len,
budgets, knapsacks, blocks of plain text.
"""

import copy
import importlib.util
import json
import pathlib
import random
import sys
import types

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "data"


def load_modules():
    root = pathlib.Path(importlib.util.find_spec("llamafactory").submodule_search_locations[0])
    sys.modules.setdefault("datasets", types.SimpleNamespace(DatasetDict=None, concatenate_datasets=None, interleave_datasets=None))
    for name in ("data", "data.processor"):
        package = types.ModuleType("llamafactory." + name)
        package.__path__ = [str(root / name.replace(".", "/"))]
        sys.modules[package.__name__] = package
    load = importlib.import_module
    return (load("llamafactory.data.converter"), load("llamafactory.data.parser"),
            load("llamafactory.data.processor.processor_utils"), load("llamafactory.data.processor.supervised"),
            load("llamafactory.data.processor.pretrain"), load("llamafactory.data.processor.pairwise"))


converter, parser, utils, supervised, pretrain, pairwise = load_modules()


class Plugin:
    def process_messages(self, messages, *media):
        return messages

    def process_token_ids(self, ids, labels, *media):
        return ids, labels


class Template:
    """Gives the pairs of a case."""

    preserve_thinking = False
    mm_plugin = Plugin()

    def __init__(self, pairs, efficient_eos):
        self.pairs, self.efficient_eos = pairs, efficient_eos

    def encode_multiturn(self, tokenizer, messages, system, tools, discard):
        return copy.deepcopy(self.pairs)


def budgets():
    fixed = [(1000, 100, 512), (100, 2000, 1024), (600, 600, 1024), (700, 300, 512), (256, 300, 512), (0, 0, 8), (5, 0, 1), (0, 9, 4)]
    rng = random.Random(1)
    drawn = [(rng.randrange(0, 400), rng.randrange(0, 400), rng.randrange(1, 500)) for _ in range(400)]
    return [[*case, *utils.infer_seqlen(*case)] for case in fixed + drawn]


def encodings():
    rng = random.Random(2)
    cases = []
    for index in range(160):
        mask_history, efficient = index % 2 == 1, index % 4 >= 2
        train_on_prompt = not mask_history and not efficient and index % 8 == 4
        pairs = [([rng.randrange(10, 99) for _ in range(rng.randrange(1, 14))],
                  [rng.randrange(10, 99) for _ in range(rng.randrange(1, 14))]) for _ in range(rng.randrange(1, 5))]
        cutoff = rng.choice([6, 12, 20, 33, 200])
        processor = supervised.SupervisedDatasetProcessor(
            template=Template(pairs, efficient), tokenizer=types.SimpleNamespace(eos_token_id=2), processor=None,
            data_args=types.SimpleNamespace(cutoff_len=cutoff, train_on_prompt=train_on_prompt, mask_history=mask_history))
        ids, labels = processor._encode_data_example([], [], None, None, [], [], [])
        if len(ids) != len(labels):
            continue  # an eos label for a source that was cut to nothing: a defect, not an answer
        cases.append(dict(pairs=pairs, cutoff_len=cutoff, train_on_prompt=train_on_prompt, mask_history=mask_history,
                          efficient_eos=efficient, ids=ids, labels=labels))
    return cases


def preference_pairs():
    """The sides of pairs; a side is (question, answer), of which the chosen one's question counts."""
    rng = random.Random(3)
    cases = []
    for index in range(80):
        question = [rng.randrange(10, 99) for _ in range(rng.randrange(1, 20))]
        answers = [[rng.randrange(10, 99) for _ in range(rng.randrange(1, 20))] for _ in range(2)]
        efficient, cutoff = index % 2 == 1, rng.choice([6, 12, 20, 33, 200])
        template = Template([], efficient)
        sides = iter(answers)
        template.encode_oneturn = lambda *_: (list(question), list(next(sides)))
        processor = pairwise.PairwiseDatasetProcessor(
            template=template, tokenizer=types.SimpleNamespace(eos_token_id=2), processor=None,
            data_args=types.SimpleNamespace(cutoff_len=cutoff))
        chosen, chosen_labels, rejected, rejected_labels = processor._encode_data_example([], [None, None], None, None, [], [], [])
        cases.append(dict(question=question, answers=answers, efficient_eos=efficient, cutoff_len=cutoff, chosen_input_ids=chosen,
                          chosen_labels=chosen_labels, rejected_input_ids=rejected, rejected_labels=rejected_labels))
    return cases


def turn(role, content, keys=("from", "value")):
    return dict(zip(keys, (role, content)))


def rows():
    """(entry of dataset_info.json, row)"""
    oai = ("role", "content")
    weather = [{"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}]
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
    call2 = {"id": "2", "type": "function", "function": {"name": "weather", "arguments": {"city": "杭州"}}}
    openai = {"formatting": "openai", "columns": {"messages": "messages", "tools": "tools", "system": "system"},
              "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                       "observation_tag": "tool", "function_tag": "function", "system_tag": "system"}}
    sharegpt = {"formatting": "sharegpt", "columns": {"messages": "conversations", "system": "system", "tools": "tools"}}
    alpaca = {"columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}}
    pair = dict(instruction="Translate", input="猫", output="cat", system="You translate.", history=None)
    talk = dict(system="be kind", tools="")

    def conversation(*turns, **more):
        return {**talk, **more, "conversations": [turn(*t) for t in turns]}

    def messages(*turns, **more):
        return {"system": None, "tools": None, **more, "messages": [t if isinstance(t, dict) else turn(*t, oai) for t in turns]}

    return [
        ({}, dict(instruction="a", input="b", output="c")),
        ({}, dict(instruction="a", input="", output="c")),
        ({}, dict(instruction="", input="b", output="c")),
        ({}, dict(instruction="a", input=None, output="")),
        ({}, dict(instruction="a", input="b", output=None)),
        (alpaca, pair),
        (alpaca, {**pair, "history": [["q1", "a1"], ["q2", "a2"]], "system": ""}),
        ({"columns": {"prompt": "instruction", "response": "output"}}, pair),
        ({"columns": {"prompt": "q", "query": "more", "response": "a"}}, dict(q="x", more="y", a="z", input="unread")),
        (sharegpt, conversation(("human", "q"), ("gpt", "a"))),
        (sharegpt, conversation(("system", "first"), ("human", "q"), ("gpt", "a"), ("human", "q2"), ("gpt", "a2"))),
        (sharegpt, conversation(("human", "q"), ("function_call", '{"name": "f", "arguments": {}}'), ("observation", "o"),
                                ("gpt", "a"), tools=json.dumps(weather))),
        (sharegpt, conversation(("human", "q"), ("gpt", "a"), ("human", "left over"))),
        (sharegpt, conversation(("gpt", "a"), ("human", "q"))),
        (sharegpt, conversation(("human", "q"), ("human", "q"))),
        (sharegpt, conversation(("human", "q"), ("narrator", "x"))),
        (sharegpt, conversation(("human", "q"), ("system", "late"), ("human", "q"), ("gpt", "a"))),
        (sharegpt, conversation()),
        ({"formatting": "sharegpt"}, conversation(("human", "q"), ("gpt", "a"))),
        ({"formatting": "sharegpt", "columns": {"messages": "m"}, "tags": openai["tags"]},
         dict(m=[turn("system", "s", oai), turn("user", "q", oai), turn("assistant", "a", oai)])),
        (openai, messages(("user", "q"), ("assistant", "a"))),
        (openai, messages(("system", "s"), ("user", "q"), ("assistant", "a"), tools=weather)),
        (openai, messages(("user", "q"), ("assistant", "a"), system="column")),
        (openai, messages(("user", "q"), {"role": "assistant", "content": None, "tool_calls": [call, call2]}, ("tool", "sun"),
                          ("tool", "rain"), ("assistant", "a"), tools=weather)),
        (openai, messages(("user", "q"), {"role": "assistant", "content": None, "tool_calls": [call]}, ("tool", "sun"))),
        (openai, messages(("user", "q"), ("assistant", "a"), ("user", "q2"))),
        (openai, messages(("assistant", "a"), ("user", "q"))),
    ]


def conversions():
    cases = []
    for entry, row in rows():
        attributes = parser.DatasetAttr("file", dataset_name="x")
        attributes.join(entry)
        output = converter.get_dataset_converter(attributes.formatting, attributes, None)(copy.deepcopy(row))
        case = dict(entry=entry, row=row)
        if len(output["_prompt"]) % 2 != 1 or len(output["_response"]) != 1:
            case["dropped"] = True
        else:
            system = output["_system"] or ""
            if attributes.formatting == "openai":  # what this converter adds of its own accord
                system = system.removesuffix("detailed thinking off").removesuffix("\n")
            case.update(messages=output["_prompt"] + output["_response"], system=system, tools=output["_tools"] or "")
        cases.append(case)
    return cases


def knapsacks():
    rng = random.Random(3)
    fixed = [([5, 3, 9, 2, 7, 4, 1], 10)]
    drawn = [([rng.randrange(1, 40) for _ in range(rng.randrange(1, 60))], 40) for _ in range(20)]
    return [dict(lengths=lengths, capacity=capacity, groups=utils.greedy_knapsack(list(lengths), capacity))
            for lengths, capacity in fixed + drawn]


class ByteTokenizer:
    """Bytes as ids from 10; eos 2 is written \\x02, bos 1 is \\x01."""

    eos_token, bos_token, bos_token_id = "\x02", "\x01", 1

    def __init__(self, add_bos_token):
        self.add_bos_token = add_bos_token

    def __call__(self, texts, add_special_tokens, truncation=False, max_length=None):
        ids = [[b if b in (1, 2) else b + 10 for b in text.encode()][: max_length if truncation else None] for text in texts]
        return {"input_ids": ids}


def blocks():
    cases = []
    texts = ["hello", "world, again", "x", "一二三", "a longer line of text"]
    for packing in (True, False):
        for add_bos in (True, False):
            processor = pretrain.PretrainDatasetProcessor(
                template=None, tokenizer=ByteTokenizer(add_bos), processor=None,
                data_args=types.SimpleNamespace(template="default", packing=packing, cutoff_len=8))
            result = processor.preprocess_dataset({"_prompt": [[{"content": text}] for text in texts]})
            cases.append(dict(texts=texts, packing=packing, add_bos=add_bos, cutoff_len=8, ids=result["input_ids"]))
    return cases


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    answers = dict(made_with="llamafactory 0.9.5", budgets=budgets(), encodings=encodings(), preference_pairs=preference_pairs(), conversions=conversions(),
                   knapsacks=knapsacks(), blocks=blocks())
    lines = [f'"{key}": ' + (json.dumps(value) if isinstance(value, str) else
                             "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in value) + "\n]")
             for key, value in answers.items()]
    (OUT / "llamafactory.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


main()
