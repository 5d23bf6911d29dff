"""Saves safetensors files through the command line, exports them, and compares every byte.

Usage: roundtrip.py PATH_OF_CKPTDB. Needs numpy, ml_dtypes and safetensors.

Every tensor is compared three times: with a reader of the format written here, with safetensors'
own parser, and, where numpy or ml_dtypes has the element type, as an array. The exit code is 1
on any mismatch.
"""

import json
import struct
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save_file

# Element types of safetensors: name, bits, and what has it for arrays.
DTYPES = {
    "BOOL": (8, np.bool_),
    "F4": (4, None),
    "F6_E2M3": (6, None),
    "F6_E3M2": (6, None),
    "U8": (8, np.uint8),
    "I8": (8, np.int8),
    "F8_E5M2": (8, ml_dtypes.float8_e5m2),
    "F8_E4M3": (8, ml_dtypes.float8_e4m3fn),
    "F8_E8M0": (8, ml_dtypes.float8_e8m0fnu),
    "F8_E4M3FNUZ": (8, ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2FNUZ": (8, ml_dtypes.float8_e5m2fnuz),
    "I16": (16, np.int16),
    "U16": (16, np.uint16),
    "F16": (16, np.float16),
    "BF16": (16, ml_dtypes.bfloat16),
    "I32": (32, np.int32),
    "U32": (32, np.uint32),
    "F32": (32, np.float32),
    "C64": (64, np.complex64),
    "F64": (64, np.float64),
    "I64": (64, np.int64),
    "U64": (64, np.uint64),
}

# Shapes: ordinary, a scalar, empty in each place, and dimensions of one.
SHAPES = [(6, 4), (), (0,), (3, 0, 2), (1, 1, 8), (1024,)]

METADATA = {
    "format": "pt",
    "": "an empty key",
    "empty value": "",
    "quotes": "\"double\" 'single' \\backslash\\ /slash",
    "lines": "one\ntwo\r\n\tthree",
    "control": "\x01\x1f\x7f\u2028",
    "unicode \u00e9\u4e2d\u6587": "\U0001f680 \u05e9\u05dc\u05d5\u05dd \u202etxet",
    "json": '{"a": [1, 2.50, null], "b": "\\u00e9"}',
}

NAMES = [
    "model.layers.0/weight",
    "with space",
    "quote\"and'back\\slash",
    "line\nbreak",
    "\u00e9t\u00e9/\u4e2d\u6587",
    "../climbing",
    "a" * 1000,
]


class Problems:
    """Counts comparisons, and says which of them failed."""

    def __init__(self):
        self.done = 0
        self.failed = 0

    def check(self, same, what):
        self.done += 1
        if not same:
            self.failed += 1
            print(f"MISMATCH {what}", file=sys.stderr)


def random_bytes(rng, dtype, length):
    if dtype == "BOOL":
        return rng.integers(0, 2, length, dtype=np.uint8).tobytes()
    return rng.bytes(length)


def every_dtype(rng):
    """Tensors of every element type in every shape that fills whole bytes."""
    tensors = {}
    for dtype, (bits, _) in DTYPES.items():
        for shape in SHAPES:
            size = prod(shape) * bits
            if size % 8 == 0:
                name = f"{dtype}/{'x'.join(map(str, shape)) or 'scalar'}"
                tensors[name] = (dtype, shape, random_bytes(rng, dtype, size // 8))
    for name in NAMES:
        tensors[name] = ("F32", (2, 2), rng.bytes(16))
    # Longer than one chunk, longer than the list of chunks in an entry, and short of both by one.
    for count in [262_124, 262_123, 262_125, 3_000_001]:
        tensors[f"long/{count}"] = ("F32", (count,), rng.bytes(4 * count))
    return tensors


def write(path, tensors, metadata):
    """Writes a safetensors file by hand: no library stands between the test and the bytes."""
    header = {} if metadata is None else {"__metadata__": metadata}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        span = [offset, offset + len(data)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def read(path):
    """Reads a safetensors file by hand, and checks that its tensors fill it without a gap."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    body = data[8 + length :]
    spans = sorted(info["data_offsets"] for info in header.values())
    ends = [0] + [end for _, end in spans]
    assert [start for start, _ in spans] == ends[:-1] and ends[-1] == len(body), "gaps"
    tensors = {}
    for name, info in header.items():
        start, end = info["data_offsets"]
        tensors[name] = (info["dtype"], tuple(info["shape"]), body[start:end])
    return tensors, metadata


def compare(problems, original, exported, metadata):
    """Compares the exported file with what was written."""
    tensors, found_metadata = read(exported)
    problems.check(tensors.keys() == original.keys(), f"{exported.name}: names")
    problems.check(found_metadata == metadata, f"{exported.name}: __metadata__")
    parsed = {}
    for name, info in safetensors.deserialize(exported.read_bytes()):
        parsed[name] = (info["dtype"], tuple(info["shape"]), bytes(info["data"]))
    arrays = 0
    for name, (dtype, shape, data) in original.items():
        what = f"{exported.name}: {name[:60]!r} {dtype} {shape}"
        problems.check(tensors.get(name) == (dtype, shape, data), f"{what}, read by hand")
        problems.check(parsed.get(name) == (dtype, shape, data), f"{what}, read by safetensors")
        array_type = DTYPES[dtype][1]
        if array_type is not None and name in tensors:
            ours = np.frombuffer(tensors[name][2], array_type).reshape(tensors[name][1])
            theirs = np.frombuffer(data, array_type).reshape(shape)
            same = ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()
            problems.check(same, f"{what}, as an array")
            arrays += 1
    return arrays


def every_dtype_survives(run, folder, problems, rng):
    tensors = every_dtype(rng)
    write(folder / "every.safetensors", tensors, METADATA)
    saved = run("save", folder / "every.safetensors", "-j", "every", "-i", "1", "--create")
    run("export", "every@1", "-o", folder / "every-out.safetensors")
    arrays = compare(problems, tensors, folder / "every-out.safetensors", METADATA)
    again = run("save", folder / "every-out.safetensors", "-j", "again", "-i", "1")
    problems.check(again["new_bytes"] == 0, f"exported and saved again: {again['new_bytes']} new")
    types = len({dtype for dtype, _, _ in tensors.values()})
    problems.check(types == len(DTYPES), "some element type was left out")
    size = saved["logical_bytes"]
    counts = f"{types} types, {len(tensors)} tensors, {arrays} as arrays, {size} B"
    print(f"every element type: {counts}")


def arrays_are_numpys_own(run, folder, problems, rng):
    tensors = {
        name: (dtype, shape, data)
        for name, (dtype, shape, data) in every_dtype(rng).items()
        if DTYPES[dtype][1] is not None and DTYPES[dtype][1].__module__ == "numpy"
    }
    write(folder / "arrays.safetensors", tensors, None)
    run("save", folder / "arrays.safetensors", "-j", "arrays", "-i", "1")
    run("export", "arrays@1", "-o", folder / "arrays.npz")
    found = np.load(folder / "arrays.npz")
    problems.check(set(found.files) == tensors.keys(), "arrays.npz: names")
    for name, (dtype, shape, data) in tensors.items():
        array, what = found[name], f"arrays.npz: {name[:60]!r} {dtype} {shape}"
        problems.check(array.dtype == DTYPES[dtype][1] and array.shape == shape, what)
        problems.check(array.tobytes() == data, what)
    print(f"arrays.npz: {len(tensors)} arrays")


def one_change_of_fifty_is_all_that_is_stored(run, folder, problems, rng):
    names = [f"block.{index}.weight" for index in range(50)]
    arrays = {name: rng.standard_normal((256, 256), dtype=np.float32) for name in names}
    for iteration in (1, 2):
        path = folder / f"fifty-{iteration}.safetensors"
        if iteration == 2:
            arrays["block.17.weight"] = arrays["block.17.weight"] + np.float32(1)
        save_file(arrays, path)
        saved = run("save", path, "-j", "fifty", "-i", str(iteration))
        changed = 256 * 256 * 4
        expected = 50 * changed if iteration == 1 else changed
        new = saved["new_bytes"]
        problems.check(new == expected, f"save {iteration}: {new} bytes new, not {expected}")
        print(f"fifty tensors, save {iteration}: {saved['logical_bytes']} B, {new} B new")
    for iteration in (1, 2):
        exported = folder / f"fifty-{iteration}-out.safetensors"
        run("export", f"fifty@{iteration}", "-o", exported)
        original, metadata = read(folder / f"fifty-{iteration}.safetensors")
        compare(problems, original, exported, metadata)
        with safetensors.safe_open(exported, framework="numpy") as file:
            for name in file.keys():
                expected = np.frombuffer(original[name][2], np.float32).reshape(256, 256)
                problems.check(np.array_equal(file.get_tensor(name), expected), f"array {name}")


def main():
    program = Path(sys.argv[1]).resolve()
    problems = Problems()
    rng = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(*words):
            command = [program, "--store", folder / "runs.ckptdb", "--json", *words]
            done = subprocess.run(command, check=False, capture_output=True)
            if done.returncode != 0:
                sys.exit(f"ckptdb {words[0]} exited {done.returncode}: {done.stderr.decode()}")
            return json.loads(done.stdout)

        every_dtype_survives(run, folder, problems, rng)
        arrays_are_numpys_own(run, folder, problems, rng)
        one_change_of_fifty_is_all_that_is_stored(run, folder, problems, rng)
        run("verify")
    print(f"round trip: {problems.done} comparisons, {problems.failed} mismatches")
    sys.exit(1 if problems.failed else 0)


if __name__ == "__main__":
    main()
