#!/usr/bin/env python3
"""What LLaMA-Factory's templates make of conversations, with a tokenizer of bytes.

    pip download --no-deps llamafactory==0.9.5 && unzip -d DIR llamafactory-0.9.5-py3-none-any.whl
    python3 tools/golden/make_llamafactory_templates.py DIR       writes tests/golden/text/llamafactory_templates.json

A byte b is the id b + 10; 1 is bos, 2 is eos, and every token that a template names is 3. Fixtures hold each (source, target)
pair as text, with <1> <2> <3> for these ids.
"""
import json
import os
import sys
import types
from unittest.mock import MagicMock

import peft  # noqa: F401  (before the stand-ins below)
import transformers

root = sys.argv[1]
sys.path.insert(0, root)
for name in ("torchaudio", "av", "librosa"):
    sys.modules.setdefault(name, MagicMock())
package = types.ModuleType("llamafactory.data")
package.__path__ = [os.path.join(root, "llamafactory/data")]
sys.modules["llamafactory.data"] = package
plugins = types.ModuleType("llamafactory.data.mm_plugin")


class BasePlugin:
    pass


plugins.BasePlugin = BasePlugin
plugins.get_mm_plugin = lambda name="base", **_: BasePlugin() if name == "base" else None
sys.modules["llamafactory.data.mm_plugin"] = plugins
import datetime as calendar  # noqa: E402

from llamafactory.data import tool_utils  # noqa: E402
from llamafactory.data.template import TEMPLATES  # noqa: E402


class Frozen(calendar.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12)


tool_utils.datetime = Frozen


class Bytes:
    bos_token_id, eos_token_id = 1, 2

    def encode(self, text, add_special_tokens=False):
        return [b + 10 for b in text.encode()]

    def convert_tokens_to_ids(self, token):
        return 3


def shown(ids):
    out = b""
    for i in ids:
        out += bytes([i - 10]) if i >= 10 else b"<%d>" % i
    return out.decode()


TOOLS = json.dumps([{"name": "weather", "description": "Weather of a city", "parameters": {"type": "object", "properties": {
    "city": {"type": "string", "description": "Its name"}, "days": {"type": "string", "description": "How many", "enum": ["1", "3"]}}, "required": ["city"]}}])
CALL = json.dumps({"name": "weather", "arguments": {"city": "北京", "days": "1"}}, ensure_ascii=False)
CONVERSATIONS = {
    "two turns": dict(messages=["u:Hi", "a:Hello.", "u:你好", "a:你好！"]),
    "system": dict(system="Be kind.", messages=["u:Hi", "a:Hello."]),
    "thought": dict(messages=["u:1+1?", "a:<think>\nEasy.\n</think>\n\n2", "u:And 2+2?", "a:<think>\nEasy too.\n</think>\n\n4"]),
    "tools": dict(tools=TOOLS, messages=["u:Weather?", "f:" + CALL, "o:Sunny", "a:It is sunny."]),
    "two calls with system": dict(system="Be kind.", tools=TOOLS, messages=["u:Weather?", f"f:[{CALL}, {CALL}]", "o:Sunny", "a:Sunny."]),
    "thought before a call": dict(tools=TOOLS, messages=["u:Weather?", "f:<think>\nI must look.\n</think>\n\n" + CALL, "o:Sunny", "a:Sunny."]),
}
ROLES = {"u": "user", "a": "assistant", "f": "function", "o": "observation"}

out = {}
for name, template in sorted(TEMPLATES.items()):
    if not isinstance(template.mm_plugin, BasePlugin):
        continue
    tokenizer = Bytes()
    if template.replace_eos and template.stop_words:
        tokenizer.eos_token_id = 3
    rows = []
    for case, given in CONVERSATIONS.items():
        if "thought before" in case and type(template).__name__ == "Llama2Template":
            continue  # that class reads no thought before a call
        messages = [{"role": ROLES[m[0]], "content": m[2:]} for m in given["messages"]]
        try:
            pairs = template.encode_multiturn(tokenizer, messages, given.get("system"), given.get("tools"))
        except Exception as error:  # a tool format that this template lacks
            print(name, case, type(error).__name__, error)
            continue
        rows.append({"case": case, "pairs": [[shown(a), shown(b)] for a, b in pairs]})
        # All before the last answer as one, as for preference pairs; written where it is not the pairs put together.
        oneturn = [shown(ids) for ids in template.encode_oneturn(tokenizer, messages, given.get("system"), given.get("tools"))]
        if oneturn != ["".join(shown(a) + shown(b) for a, b in pairs[:-1]) + shown(pairs[-1][0]), shown(pairs[-1][1])]:
            rows[-1]["oneturn"] = oneturn
    out[name] = rows
path = os.path.join(os.path.dirname(__file__), "../../tests/golden/text/llamafactory_templates.json")
with open(path, "w", encoding="utf-8") as file:
    conversations = {k: dict(system=v.get("system", ""), tools=v.get("tools", ""), messages=v["messages"]) for k, v in CONVERSATIONS.items()}
    json.dump({"made_by": f"llamafactory 0.9.5, transformers {transformers.__version__}", "conversations": conversations, "templates": out}, file, ensure_ascii=False, indent=0)
print(len(out), "templates", os.path.getsize(path), "bytes")
