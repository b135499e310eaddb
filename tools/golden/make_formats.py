"""Files for the readers of weights: torch archives of both kinds, safetensors, and pickles that must be refused.

    /path/to/python tools/golden/make_formats.py

Writes tests/golden/formats/:
  state.bin, state_legacy.bin  one state dict saved in the zip and in the pre-1.6 format: all dtypes, a transposed view,
                               a slice, two names on one storage, a parameter, a scalar, an empty tensor, nested dicts
  state.safetensors            the same tensors under the dotted names that the archive readers give them
  shared_view_legacy.bin       two overlapping slices of one storage, legacy format
  malicious_*.bin              archives whose pickle calls something
  compressed.bin, zip64.bin    the zip archive packed again with deflate, and with zip64 sizes
"""

import collections
import io
import pickle
import struct
import zipfile

import torch
from safetensors.torch import save_file

from golden_io import GOLDEN, generator, setup

OUT = GOLDEN / "formats"


def tensors():
    base = torch.randn(6, 4, generator=generator("formats", "base"))
    shared = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return collections.OrderedDict(
        {
            "f32": base,
            "bf16": base.to(torch.bfloat16),
            "f16": base.to(torch.float16),
            "f64": base.to(torch.float64),
            "i64": torch.tensor([-1, 2**62, 3]),
            "i32": torch.tensor([-7, 8], dtype=torch.int32),
            "u8": torch.arange(7, dtype=torch.uint8),
            "i8": torch.tensor([-128, 127], dtype=torch.int8),
            "bool": torch.tensor([True, False, True]),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "transposed": shared.t(),
            "slice": shared[1:3, 2:5],
            "tied": shared,
            "tied_again": shared,
            "parameter": torch.nn.Parameter(base[:2] * 3),
            "nested": {"inner": collections.OrderedDict({"weight": base[1:3] * 2}), "step": 7, "note": "plain"},
        }
    )


def flat(value, prefix=""):
    out = {}
    for key, item in value.items():
        if isinstance(item, torch.Tensor):
            out[prefix + key] = item.detach().clone().contiguous()
        elif isinstance(item, dict):
            out.update(flat(item, prefix + key + "."))
    return out


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def archive(path, program):
    """A torch zip whose pickle is `program`, without storages."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        entry = zipfile.ZipInfo("archive/data.pkl", (1980, 1, 1, 0, 0, 0))
        out.writestr(entry, program)
        out.writestr(zipfile.ZipInfo("archive/version", (1980, 1, 1, 0, 0, 0)), "3\n")


def repack(source, target, method, zip64):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for info in old.infolist():
            entry = zipfile.ZipInfo(info.filename, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = method
            with new.open(entry, "w", force_zip64=zip64) as out:
                out.write(old.read(info))


def zip64_directory(path):
    """Moves the sizes, the offsets and the end record of a small zip to their zip64 places, as in a file above 4 GiB."""
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    count, size, start = struct.unpack_from("<HII", data, end + 10)
    directory, at = b"", start
    for _ in range(count):
        head = bytearray(data[at : at + 46])
        packed, plain = struct.unpack_from("<II", head, 20)
        n, extra, comment = struct.unpack_from("<HHH", head, 28)
        (local,) = struct.unpack_from("<I", head, 42)
        name = data[at + 46 : at + 46 + n]
        field = struct.pack("<HHQQQ", 1, 24, plain, packed, local)
        struct.pack_into("<II", head, 20, 0xFFFFFFFF, 0xFFFFFFFF)
        struct.pack_into("<HHH", head, 28, n, len(field), 0)
        struct.pack_into("<I", head, 42, 0xFFFFFFFF)
        directory += bytes(head) + name + field
        at += 46 + n + extra + comment
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, len(directory), start)
    locator = struct.pack("<IIQI", 0x07064B50, 0, start + len(directory), 1)
    finish = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:start] + directory + record + locator + finish)


def main():
    setup()
    OUT.mkdir(parents=True, exist_ok=True)
    state = tensors()
    torch.save(state, OUT / "state.bin")
    torch.save(state, OUT / "state_legacy.bin", _use_new_zipfile_serialization=False)
    save_file(flat(state), str(OUT / "state.safetensors"), metadata={"format": "pt"})
    line = torch.arange(10, dtype=torch.float32)
    torch.save({"a": line[:6], "b": line[4:]}, OUT / "shared_view_legacy.bin", _use_new_zipfile_serialization=False)
    repack(OUT / "state.bin", OUT / "compressed.bin", zipfile.ZIP_DEFLATED, False)
    repack(OUT / "state.bin", OUT / "zip64.bin", zipfile.ZIP_STORED, True)
    zip64_directory(OUT / "zip64.bin")
    with zipfile.ZipFile(OUT / "zip64.bin") as check:
        assert check.testzip() is None
    import builtins
    import os

    for name, function, argument in (
        ("system", os.system, "touch /tmp/fettle-was-here"),
        ("eval", builtins.eval, "1"),
        ("import", builtins.__import__, "os"),
        ("getattr", getattr, "x"),
    ):
        for protocol in (2, 4):
            archive(OUT / f"malicious_{name}_{protocol}.bin", pickle.dumps({"w": Call(function, argument)}, protocol))
    buffer = io.BytesIO()
    torch.save({"w": Call(os.system, "touch /tmp/fettle-was-here")}, buffer, _use_new_zipfile_serialization=False)
    (OUT / "malicious_system_legacy.bin").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
