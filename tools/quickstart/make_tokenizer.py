"""Trains the byte-level BPE tokenizer of the quickstart's base model and writes its folder without weights.

    python tools/quickstart/make_tokenizer.py            (needs Hugging Face tokenizers: tools/golden/requirements.txt)

examples/quickstart/base/tokenizer.json, tokenizer_config.json, config.json
"""

import argparse
import collections
import json
import pathlib

import make_corpus
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Words with their leading space, single digits, runs of signs: no token joins two words or two digits.
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LONGEST_TOKEN = 12  # bytes: four Chinese characters; whole template phrases must not become one token
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def data_texts():
    """Every text of the two data sets, to report how they tokenise."""
    for dialogue in json.loads((QUICKSTART / "data" / "counselling.json").read_text(encoding="utf-8")):
        for turn in dialogue["conversation"]:
            yield from turn.values()
    for row in json.loads((QUICKSTART / "data" / "reasoning.json").read_text(encoding="utf-8")):
        yield from row.values()


def train(vocab_size, megabytes):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    corpus = [t for t in make_corpus.documents(megabytes, 1)]
    for name in SPECIAL:
        corpus = [t.replace(name, "\n") for t in corpus]
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def write(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    added = {
        str(i): {"content": n, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        for n, i in ids.items()
    }
    config = {
        "add_bos_token": False,
        "added_tokens_decoder": added,
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 1024,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    model = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "hidden_act": "silu",
        "hidden_size": 128,
        "initializer_range": 0.02,
        "intermediate_size": 384,
        "max_position_embeddings": 1024,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "pad_token_id": ids["<|endoftext|>"],
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": tokenizer.get_vocab_size(),
    }
    (folder / "config.json").write_text(json.dumps(model, indent=2) + "\n")


def report(tokenizer, megabytes):
    """How the tokenizer fits, and which tokens of the data the base will hardly have seen."""
    counts, size = collections.Counter(), 0
    for text in make_corpus.documents(megabytes, 1):
        counts.update(tokenizer.encode(text).ids)
        size += len(text.encode())
    rare = collections.Counter()
    total = 0
    for text in data_texts():
        ids = tokenizer.encode(text).ids
        total += len(ids)
        rare.update(i for i in ids if counts[i] < 20)
    tokens = sum(counts.values())
    print(f"{tokenizer.get_vocab_size()} tokens, {tokens} corpus tokens, {size / tokens:.2f} bytes a token")
    print(f"data: {total} tokens; seen fewer than 20 times in the corpus: {len(rare)} tokens, {sum(rare.values())} uses")
    print([tokenizer.decode([i]) for i, _ in rare.most_common(40)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocab-size", type=int, default=2560)
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--out", type=pathlib.Path, default=QUICKSTART / "base")
    args = parser.parse_args()
    tokenizer = train(args.vocab_size, args.megabytes)
    write(tokenizer, args.out)
    report(tokenizer, args.megabytes)


if __name__ == "__main__":
    main()
