#!/usr/bin/env python3
"""Small tokenizers with every component, and what Hugging Face `tokenizers` makes of difficult texts with them.

    python3 tools/golden/make_tokenizers.py        writes tests/golden/text/tokenizers.json
"""
import json
import os
import tokenizers
from tokenizers import Regex, Tokenizer, decoders as D, models as M, normalizers as N, pre_tokenizers as P, processors as O, trainers as T, AddedToken

TEXTS = ["", " ", "Hello, World!", "  two  spaces\tand\ttabs ", "line\none\r\n\r\n two", "I'm sure they'LL've 'd", "café naïve Ångström ÅÉ", "e\u0301a\u0323\u0307",
         "数字１２３ 和 123456 ①½²", "我晚上睡不着，你呢？", "한국어 각", "emoji 👨\u200d👩\u200d👧 ❤️ 🇩🇪!", "x\u00a0y\u3000z\u2003w\u0085v\u180eu", "a\u200bb\ufeffc\x00d\x7fe\x1b[0m",
         "snake_case __init__ a.b(c)[d]", "ﬁ ﬀ Ⅷ ㎏ ｱﾞ Ａ", "İstanbul ǅ ẞ ΣΑΣ", "<s>bold</s> [MASK] mask", "▁under ▁▁two", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "don't can't won't", "का\u093c हिन्दी", "\U000e0041\ue000\U0010fffd\ufffe", "-- ... ?! :// @#$%^&*"]

CORPUS = TEXTS + ["The night is long and I cannot sleep. I lie awake and think of work.", "我很累，工作太多了。晚上我睡不着，心里很乱。", "She said: the dog is fine, the house is quiet.",
                  "def add(a, b):\n    return a + b\n", "Numbers 1 22 333 4444 and words word words wording worded"] * 3

GPT4 = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK3 = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

NORMALIZERS = {
    "NFC": N.NFC(), "NFD": N.NFD(), "NFKC": N.NFKC(), "NFKD": N.NFKD(), "Lowercase": N.Lowercase(), "StripAccents": N.Sequence([N.NFD(), N.StripAccents()]),
    "Strip": N.Strip(), "StripLeft": N.Strip(True, False), "Prepend": N.Prepend("▁"), "ReplaceString": N.Replace(" ", "▁"), "ReplaceRegex": N.Replace(Regex(r"\s{2,}"), "_"), "Nmt": N.Nmt(),
    "Bert": N.BertNormalizer(), "BertCased": N.BertNormalizer(lowercase=False), "BertAccents": N.BertNormalizer(lowercase=False, strip_accents=True), "BertPlain": N.BertNormalizer(False, False, False, False),
    "ByteLevel": N.ByteLevel()}
PRE_TOKENIZERS = {
    "ByteLevel": P.ByteLevel(add_prefix_space=False), "ByteLevelPrefix": P.ByteLevel(), "Whitespace": P.Whitespace(), "WhitespaceSplit": P.WhitespaceSplit(), "Bert": P.BertPreTokenizer(),
    "Digits": P.Digits(), "DigitsEach": P.Digits(True), "Punctuation": P.Punctuation(), "PunctuationPrevious": P.Punctuation("merged_with_previous"), "PunctuationNext": P.Punctuation("merged_with_next"),
    "PunctuationContiguous": P.Punctuation("contiguous"), "PunctuationRemoved": P.Punctuation("removed"), "Metaspace": P.Metaspace(), "MetaspaceFirst": P.Metaspace(prepend_scheme="first"),
    "MetaspaceNever": P.Metaspace(prepend_scheme="never"), "MetaspaceWhole": P.Metaspace(split=False), "CharDelimiter": P.CharDelimiterSplit("a"),
    "Qwen": P.Split(Regex(QWEN), "isolated"), "Llama3": P.Split(Regex(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")), "isolated"), "DeepSeek3": P.Split(Regex(DEEPSEEK3), "isolated"), "Gpt4o": P.Split(Regex(GPT4), "isolated"),
    "Words": P.Split(Regex(r"\s?\p{L}+"), "isolated"), "SpacesAtEnd": P.Split(Regex(r"\s+$"), "isolated"), "NotWords": P.Split(Regex(r"[^\s\p{L}]+"), "removed"), "Inverted": P.Split(Regex(r"\p{L}+"), "removed", True),
    "String": P.Split("a", "merged_with_previous"), "Sequence": P.Sequence([P.WhitespaceSplit(), P.Digits(), P.Punctuation()])}


def save(tokenizer):
    return json.loads(tokenizer.to_str())


def record(name, tokenizer, texts=TEXTS, pairs=()):
    cases = []
    for text in texts:
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        full = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": plain, "ids_special": full, "decode": tokenizer.decode(plain, skip_special_tokens=False), "decode_skip": tokenizer.decode(full)})
    rows = []
    for a, b in pairs:
        e = tokenizer.encode(a, b)
        rows.append({"text": a, "pair": b, "ids": e.ids, "type_ids": e.type_ids, "special_mask": e.special_tokens_mask})
    return {"name": name, "tokenizer": save(tokenizer), "cases": cases, "pairs": rows}


def words_of(normalizer, pre_tokenizer):
    """A WordLevel tokenizer whose vocabulary is every piece that the stages give, so that ids show every cut."""
    vocab = {"<unk>": 0}
    for text in TEXTS:
        text = normalizer.normalize_str(text) if normalizer else text
        for piece in ([p for p, _ in pre_tokenizer.pre_tokenize_str(text)] if pre_tokenizer else [text]):
            vocab.setdefault(piece, len(vocab))
    tokenizer = Tokenizer(M.WordLevel(vocab, "<unk>"))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def trained(model, trainer, normalizer=None, pre=None, decoder=None, post=None):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, pre, decoder
    tokenizer.train_from_iterator(CORPUS, trainer)
    if post:
        tokenizer.post_processor = post(tokenizer)
    return tokenizer


out = [record("normalizer " + k, words_of(n, None)) for k, n in NORMALIZERS.items()]
# A byte-level vocabulary is spelled in bytes: it needs a model that knows them, which comes below.
out += [record("pre_tokenizer " + k, words_of(None, p)) for k, p in PRE_TOKENIZERS.items() if not k.startswith("ByteLevel")]

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "[MASK]"]
PAIRS = [("Hello", "World and more"), ("我很累", ""), ("", "x")]
byte_level = trained(M.BPE(), T.BpeTrainer(vocab_size=400, initial_alphabet=P.ByteLevel.alphabet(), special_tokens=SPECIAL, show_progress=False), N.NFC(), P.ByteLevel(add_prefix_space=False), D.ByteLevel(),
                     lambda t: O.RobertaProcessing(("</s>", 2), ("<s>", 1)))
out.append(record("BPE byte-level, RobertaProcessing", byte_level, pairs=PAIRS))
prefixed = trained(M.BPE(), T.BpeTrainer(vocab_size=380, initial_alphabet=P.ByteLevel.alphabet(), special_tokens=SPECIAL, show_progress=False), None, P.ByteLevel(), D.ByteLevel())
prefixed.add_tokens([AddedToken("lo", single_word=True), AddedToken("two", lstrip=True), AddedToken("World", rstrip=True), AddedToken("é", normalized=True)])
out.append(record("BPE byte-level with prefix space and added tokens", prefixed))
ignoring = save(byte_level)
ignoring["model"]["ignore_merges"] = True
ignoring["model"]["vocab"]["Hello"] = 400
out.append(record("BPE ignore_merges", Tokenizer.from_str(json.dumps(ignoring))))

fallback = trained(M.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                   T.BpeTrainer(vocab_size=460, limit_alphabet=60, special_tokens=SPECIAL + [f"<0x{b:02X}>" for b in range(256)], show_progress=False), N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), None,
                   D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]),
                   lambda t: O.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]))
out.append(record("BPE byte_fallback, TemplateProcessing", fallback, pairs=PAIRS))
fused = trained(M.BPE(unk_token="<unk>", fuse_unk=True), T.BpeTrainer(vocab_size=180, limit_alphabet=40, special_tokens=SPECIAL, show_progress=False), None, P.Metaspace(), D.Metaspace())
out.append(record("BPE fuse_unk, Metaspace", fused))
unfused = trained(M.BPE(unk_token="<unk>"), T.BpeTrainer(vocab_size=180, limit_alphabet=40, special_tokens=SPECIAL, show_progress=False), None, P.Whitespace(), None)
out.append(record("BPE unk, Whitespace, no decoder", unfused))
bert = trained(M.WordPiece(unk_token="[UNK]"), T.WordPieceTrainer(vocab_size=330, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False), N.BertNormalizer(), P.BertPreTokenizer(), D.WordPiece(),
               lambda t: O.BertProcessing(("[SEP]", 3), ("[CLS]", 2)))
out.append(record("WordPiece, BertProcessing", bert, pairs=PAIRS))
for name, options in {"Unigram": {}, "Unigram byte_fallback": {"byte_fallback": True}}.items():
    unigram = trained(M.Unigram(), T.UnigramTrainer(vocab_size=160, unk_token="<unk>", special_tokens=SPECIAL, show_progress=False), N.NFKC(), P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), D.Metaspace(),
                      lambda t: O.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]))
    if options:
        j = save(unigram)
        j["model"]["byte_fallback"] = True
        j["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
        unigram = Tokenizer.from_str(json.dumps(j))
    out.append(record(name, unigram, pairs=PAIRS))

path = os.path.join(os.path.dirname(__file__), "../../tests/golden/text/tokenizers.json")
with open(path, "w", encoding="utf-8") as file:
    file.write('{"made_by": "tools/golden/make_tokenizers.py, tokenizers %s", "tokenizers": [\n' % tokenizers.__version__)
    file.write(",\n".join(json.dumps(entry, ensure_ascii=True, separators=(",", ":")) for entry in out))
    file.write("\n]}\n")
print(len(out), "tokenizers", os.path.getsize(path), "bytes")
