"""A Parquet file with every kind of column that data sets have: tests/golden/data/parquet/rows.parquet and rows.json.

    python tools/golden/make_parquet.py        (pyarrow)
"""

import datetime
import json
import pathlib

import pyarrow
import pyarrow.parquet

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "data" / "parquet"
ROWS = [
    {
        "Question": f"病人{i}有什么症状?",
        "Response": None if i == 3 else "A" * i,
        "score": i / 4,
        "turns": i,
        "kept": i % 2 == 0,
        "conversations": [{"from": "human", "value": f"q{k}"} for k in range(i)],
        "tags": {"a": 1, "b": [i]},
    }
    for i in range(5)
]


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist(ROWS)
    day = pyarrow.array([datetime.date(2024, 1, 1 + i) for i in range(5)])
    table = table.append_column("day", day)
    table = table.append_column("kind", pyarrow.array(["x", "y", "x", "y", "x"]).dictionary_encode())
    pyarrow.parquet.write_table(table, FOLDER / "rows.parquet", row_group_size=2, compression="zstd")
    rows = [r | {"day": str(d), "kind": k} for r, d, k in zip(ROWS, day.to_pylist(), ["x", "y", "x", "y", "x"])]
    (FOLDER / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    print(pyarrow.__version__)


if __name__ == "__main__":
    main()
