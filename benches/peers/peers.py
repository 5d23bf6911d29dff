"""What other ways to keep checkpoints take, beside a plain write and sync of the same bytes in the
same run: the reference that `cargo bench --bench store` has, so that the two tables can be compared.

    /usr/bin/python3 benches/peers/peers.py torch [MIB] [ROUNDS]   # Debian's python3-torch
    python3 benches/peers/peers.py rocksdb [MIB] [ROUNDS]          # pip install rocksdict numpy

Files go to CKPTDB_BENCH_DIR, or the system's temporary folder, and are removed.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TENSOR = 64 << 20
CHUNK = 1 << 20


def timed(times, what, run):
    begun = time.perf_counter()
    result = run()
    times.setdefault(what, []).append(time.perf_counter() - begun)
    return result


def sync(path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def plain_write(path, tensors):
    with open(path, "wb", buffering=0) as file:
        for tensor in tensors:
            view = memoryview(tensor)
            while view:
                view = view[file.write(view) :]
        os.fdatasync(file.fileno())


def torch_round(times, folder, tensors):
    import torch

    path = folder / "state.pt"
    state = {f"layer.{n}": torch.from_numpy(t.view(np.float32)) for n, t in enumerate(tensors)}

    def save():
        torch.save(state, path)
        sync(path)

    timed(times, "torch.save + fsync", save)
    timed(times, "torch.load", lambda: torch.load(path))
    path.unlink()


def rocksdb_round(times, folder, tensors):
    from rocksdict import Options, Rdict, WriteOptions

    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_enable_blob_files(True)
    options.set_min_blob_size(1 << 16)
    path = str(folder / "rocks")
    store = Rdict(path, options)
    write = WriteOptions()
    write.disable_wal = True

    def save():
        for number, tensor in enumerate(tensors):
            for at in range(0, len(tensor), CHUNK):
                key = b"%06d.%06d" % (number, at // CHUNK)
                store.put(key, tensor[at : at + CHUNK].tobytes(), write)
        # Without a log, a flush is what makes it durable.
        store.flush(True)

    timed(times, "RocksDB, blob files, no log, flush", save)

    def load():
        return list(store.items())

    timed(times, "RocksDB, read all", load)
    del store
    Rdict.destroy(path)


def rocksdb_small(times, folder):
    from rocksdict import Options, Rdict, WriteBatch, WriteOptions

    options = Options(raw_mode=True)
    options.create_if_missing(True)
    store = Rdict(str(folder / "small"), options)
    write = WriteOptions()
    write.sync = True
    plain = os.open(folder / "plain", os.O_CREAT | os.O_WRONLY)
    state = bytearray(os.urandom(2000))
    for number in range(500):
        state[:8] = number.to_bytes(8, "little")

        def save():
            batch = WriteBatch(raw_mode=True)
            batch.put(b"state/%d" % number, bytes(state))
            for row in range(8):
                batch.put(b"index/%d/%d" % (row, number), b"")
            store.write(batch, write)

        def reference():
            os.pwrite(plain, state, number * len(state))
            os.fdatasync(plain)

        timed(times, "2,000 bytes: write + fdatasync", reference)
        timed(times, "2,000 bytes: RocksDB, 8 rows, synced log", save)
    os.close(plain)


def main():
    which = sys.argv[1]
    mib = int(sys.argv[2]) if len(sys.argv) > 2 else 2048
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    noise = np.random.default_rng(1)
    tensors = [noise.integers(0, 256, TENSOR, dtype=np.uint8) for _ in range((mib << 20) // TENSOR)]
    times = {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("CKPTDB_BENCH_DIR")) as folder:
        folder = Path(folder)
        for _ in range(rounds):
            timed(times, "write + fdatasync", lambda: plain_write(folder / "plain", tensors))
            timed(times, "read", lambda: (folder / "plain").read_bytes())
            (folder / "plain").unlink()
            {"torch": torch_round, "rocksdb": rocksdb_round}[which](times, folder, tensors)
        if which == "rocksdb":
            rocksdb_small(times, folder)
    print(f"{mib} MiB, medians of {rounds} rounds")
    references = ["write + fdatasync", "read", "2,000 bytes: write + fdatasync"]
    for what, taken in times.items():
        median = statistics.median(taken)
        reference = references[("load" in what or "read" in what) + 2 * ("bytes" in what)]
        ratio = statistics.median(times[reference]) / median
        print(f"{what}: {1e3 * median:.2f} ms, {ratio:.2f} times the speed of {reference}")


main()
