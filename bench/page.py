"""Tables of measurements, and their places in the documentation."""

import datetime
import pathlib
import re
import subprocess


def machine():
    """The processor, its memory, and the day: what a figure needs to mean anything."""
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    flags = next(line for line in open("/proc/cpuinfo") if line.startswith("flags")).split()
    kinds = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16"), ("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags]
    memory = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1]) / 2**20
    cores = subprocess.run(["nproc"], check=True, capture_output=True, text=True).stdout.strip()
    return f"{cpu}, {cores} cores, {kinds[0] if kinds else 'no AVX2'}, {memory:.0f} GiB, {datetime.date.today()}"


def table(header, rows):
    """Markdown whose columns also line up as plain text."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    line = lambda cells: "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths)) + " |"
    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def replace(path: pathlib.Path, name, text):
    """Puts `text` between the marks <!-- name --> and <!-- /name --> of a file."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = path.read_text()
    if begin not in old or end not in old:
        raise SystemExit(f"{path} has no marks {begin} and {end}")
    new = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{text}\n{end}", old, count=1, flags=re.S)
    path.write_text(new)
