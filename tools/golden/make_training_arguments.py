"""Names and defaults of transformers.Seq2SeqTrainingArguments, for the test that the option schema knows each.

    /path/to/python tools/golden/make_training_arguments.py

Writes tests/golden/base/training_arguments.json. Made with transformers 5.23.0.
"""
import dataclasses
import enum
import json
import pathlib

import transformers


def plain(value):
    return value.value if isinstance(value, enum.Enum) else value


def main():
    fields = {}
    for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments):
        default = field.default
        if default is dataclasses.MISSING:
            default = field.default_factory()
        fields[field.name] = plain(default)
    out = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/base/training_arguments.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"transformers": transformers.__version__, "fields": fields}, indent=1) + "\n")


if __name__ == "__main__":
    main()
