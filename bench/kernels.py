"""Every kernel of src/fettle/kernels/backend.h beside the roofline of this machine, as an aligned table.

    python3 bench/kernels.py [--bench build/bench/bench_kernels] [--filter REGEX] [--seconds 0.3] [--write docs/benchmarks.md]

Runs bench_kernels (cmake -DFETTLE_BENCH=ON, Debian's libbenchmark-dev), about two minutes. A share is the least time that
the kernel's operations or bytes need on this machine, divided by the time it takes: operations at the register-resident peak,
bytes at the bandwidth of a plain copy or read loop over as many bytes. Fails when backend.h has a kernel that is not measured.
--write replaces the text between the lines "<!-- kernels -->" and "<!-- /kernels -->" of a file.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import page

ROOT = pathlib.Path(__file__).resolve().parents[1]


def kernels_of_backend():
    text = (ROOT / "src/fettle/kernels/backend.h").read_text()
    body = text[text.index("class Backend {") : text.index("\n};", text.index("class Backend {"))]
    return set(re.findall(r"virtual \w+ (\w+)\(", body)) - {"device", "description", "has_native_bf16"}


def duration(nanoseconds):
    return f"{nanoseconds / 1e6:.2f} ms" if nanoseconds >= 1e6 else f"{nanoseconds / 1e3:.1f} us"


def rate(row):
    if row["memory_bound"]:
        return f"{row['GB/s']:.1f} GB/s"
    return f"{row['GFLOP/s']:.0f} GFLOP/s"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bench", default=ROOT / "build/bench/bench_kernels")
    p.add_argument("--filter", default=".")
    p.add_argument("--seconds", default="0.3", help="least time measured for each kernel")
    p.add_argument("--write", default="", help="a Markdown file to put the table into")
    a = p.parse_args()
    command = [a.bench, f"--benchmark_filter={a.filter}", f"--benchmark_min_time={a.seconds}", "--benchmark_format=json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    context, rows = result["context"], result["benchmarks"]
    header = ["kernel", "shape", "time", "rate", "bound by", "of the roofline"]
    lines, measured = [], set()
    for row in rows:
        kernel, _, shape = row["name"].removesuffix("/real_time").partition("/")
        measured.add(kernel)
        bound = "memory" if row["memory_bound"] else "products"
        lines.append([kernel, shape, duration(row["real_time"] * 1e3), rate(row), bound, f"{row['roofline_%']:.0f}%"])
    summary = (
        f"{page.machine()}; {context['backend']}; peaks: bf16 {float(context['bf16_peak']) / 1e9:.0f} and f32 {float(context['f32_peak']) / 1e9:.0f} "
        f"GFLOP/s in registers, {float(context['memory_bandwidth']) / 1e9:.0f} GB/s over 1 GiB"
    )
    table = page.table(header, lines)
    print(f"{summary}\n\n{table}")
    if a.write:
        page.replace(pathlib.Path(a.write), "kernels", f"{summary}.\n\n{table}")
    missing = kernels_of_backend() - measured
    if a.filter == "." and missing:
        sys.exit("not measured: " + ", ".join(sorted(missing)))


if __name__ == "__main__":
    main()
