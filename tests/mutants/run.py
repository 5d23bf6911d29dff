"""How many changes to the code the tests notice: cargo-mutants' mutants, all in one build.

    cargo install --locked cargo-mutants
    pip install tree-sitter tree-sitter-rust
    python3 tests/mutants/run.py WORK [--seconds 3] [--sample 200]

WORK is a folder outside of the checkout, which takes a gigabyte; what was found there before is
kept, for mutants that are the same by file, function and change. Every mutant is tried against the
tests that reach it, the quickest first, up to the first that fails. At the end comes who is left.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from weave import MODULE, Weaver

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What is never to lose anything.
FILES = ["src/format/**", "src/storage/**", "src/platform/**"]
FILES += ["src/store/rescue/**", "src/store/verify/**"]
FILES += [f"src/store/{name}.rs" for name in (
    "commit", "delete", "freed", "heal", "ingest", "prune", "reclaim", "resume", "sweep", "unlist",
)]
# Too long for what they add here.
SKIPPED = ("no_flipped", "suite::no_fault", "storm::", "three_hundred")
SMALL = {"CKPTDB_MODEL_CASES": "40", "CKPTDB_SIMULATE_RUNS": "3", "RUST_BACKTRACE": "0"}
LENIENT = "#![allow(warnings, arithmetic_overflow, unconditional_panic, unconditional_recursion)]\n"


def listed():
    patterns = [part for file in FILES for part in ("-f", file)]
    command = ["cargo", "mutants", "--list", "--json", *patterns]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(enumerate(json.loads(found.stdout), 1))


def keys(mutants):
    """What a mutant is, wherever its line has moved to."""
    seen, out = collections.Counter(), {}
    for number, mutant in mutants.items():
        key = mutant["file"] + " " + re.sub(r"^[^:]*:\d+:\d+: ", "", mutant["name"])
        seen[key] += 1
        out[number] = f"{key} #{seen[key]}"
    return out


class Build:
    """A copy of the checkout with the mutants in it."""

    def __init__(self, work, mutants):
        self.tree = work / "tree"
        self.mutants = mutants
        self.dropped = set()
        self.environment = dict(
            os.environ,
            CARGO_TARGET_DIR=str(work / "target"),
            CARGO_PROFILE_DEV_OPT_LEVEL="2",
            CARGO_PROFILE_DEV_DEBUG="0",
        )

    def copy(self):
        command = ["rsync", "-a", "--delete", "--exclude", "target", "--exclude", ".git"]
        subprocess.run([*command, f"{ROOT}/", f"{self.tree}/"], check=True)
        (self.tree / "src/mutant.rs").write_text(MODULE)
        root = self.tree / "src/lib.rs"
        text = root.read_text().replace("mod codec;", "mod codec;\nmod mutant;", 1)
        root.write_text(LENIENT + text)
        manifest = self.tree / "Cargo.toml"
        text = manifest.read_text()
        strict = re.compile(r"\[workspace\.lints\.rust\].*?(?=\n\[profile)", re.S)
        manifest.write_text(strict.sub('[workspace.lints.rust]\nunused = "allow"\n', text))

    def weave(self):
        files = collections.defaultdict(list)
        for number, mutant in self.mutants.items():
            if number not in self.dropped:
                files[mutant["file"]].append((number, mutant))
        woven = set()
        for file, mutants in files.items():
            weaver = Weaver((ROOT / file).read_text(), mutants)
            (self.tree / file).write_text(weaver.weave())
            woven |= weaver.woven
        return woven

    def check(self):
        """The compiler's errors, as places in files."""
        command = ["cargo", "check", "--all-features", "--lib", "--message-format=json"]
        ran = subprocess.run(
            command, cwd=self.tree, env=self.environment, capture_output=True, text=True
        )
        places = []
        for line in ran.stdout.splitlines():
            message = json.loads(line).get("message") if line.startswith("{") else None
            if message and message["level"] == "error":
                spans = message["spans"] + [s for c in message["children"] for s in c["spans"]]
                places.append([(s["file_name"], s["byte_start"], s["byte_end"]) for s in spans])
        if ran.returncode and not places:
            raise SystemExit(ran.stderr)
        return places

    def run(self):
        """Weaves until it compiles: what does not is no mutant. Returns those that are in."""
        self.copy()
        while True:
            woven = self.weave()
            errors = self.check()
            print(f"{len(woven)} woven, {len(errors)} errors", flush=True)
            if not errors:
                break
            before = len(self.dropped)
            blocks = {}
            for places in errors:
                self.dropped |= self.blamed(places, blocks)
            if len(self.dropped) == before:
                raise SystemExit(f"what does not compile is no mutant's: {errors}")
        command = ["cargo", "test", "--all-features", "--no-run"]
        subprocess.run(command, cwd=self.tree, env=self.environment, check=True)
        return woven

    def blamed(self, places, blocks):
        """The mutant around an error, or those within it, or the nearest one."""
        within, near = set(), []
        for file, start, end in places:
            if file not in blocks:
                path = self.tree / file
                is_ours = file.startswith("src/")
                blocks[file] = blocks_of(path.read_text()) if is_ours else []
            around = [b for b in blocks[file] if b[0] <= start and end <= b[1]]
            if around:
                return {min(around, key=lambda b: b[1] - b[0])[2]}
            within |= {b[2] for b in blocks[file] if start <= b[0] <= end}
            near += [(min(abs(b[0] - end), abs(start - b[1])), b[2]) for b in blocks[file]]
        return within or {number for _, number in sorted(near)[:1]}


def blocks_of(text):
    """From where to where the mutants of a woven file stand."""
    found = []
    for match in re.finditer(r"crate::mutant::on\((\d+)\)", text):
        opened = text.find("{", match.end())
        if opened < 0 or opened - match.end() > 3:
            found.append((match.start(), match.end() + 200, int(match[1])))
            continue
        depth = 0
        for end in range(opened, len(text)):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                break
        found.append((match.start() - 3, end + 1, int(match[1])))
    return found


class Tests:
    """The test programs, and which mutants each test reaches."""

    def __init__(self, work):
        self.tree = work / "tree"
        # In memory, where there is such a place: what is synced there costs nothing.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.scratch = tempfile.mkdtemp(prefix="mutants-", dir=place)
        self.programs = self.built(work / "target/debug/deps")
        self.tests = []

    def built(self, folder):
        newest = {}
        for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime):
            name = path.name.rsplit("-", 1)[0]
            if "." not in path.name and os.access(path, os.X_OK):
                # The library's tests and the program's have one name; the library has more.
                known = newest.get(name)
                if known and name == "ckptdb" and len(self.names(path)) < len(self.names(known)):
                    continue
                newest[name] = path
        return {name: newest[name] for name in ("ckptdb", "main", "processes", "simulate")}

    def names(self, program):
        command = [program, "--list", "--format", "terse"]
        told = subprocess.run(command, cwd=self.tree, capture_output=True, text=True).stdout
        return [line[:-6] for line in told.splitlines() if line.endswith(": test")]

    def call(self, program, name, seconds, **variables):
        """Runs one test; whether it passed, in time."""
        folder = tempfile.mkdtemp(dir=self.scratch)
        environment = dict(os.environ, **SMALL, **variables)
        environment.update(CARGO_MANIFEST_DIR=str(self.tree), TMPDIR=folder)
        process = subprocess.Popen(
            [program, "--exact", name], cwd=self.tree, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limited,
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = "timeout"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        return code

    def reach(self):
        """Runs every test once, and notes what it reaches and how long it takes."""
        def one(entry):
            program, name = entry
            notes = tempfile.mktemp(dir=self.scratch)
            start = time.time()
            code = self.call(program, name, 900, CKPTDB_REACH=notes)
            reached = set()
            if os.path.exists(notes):
                reached = {int(line) for line in open(notes)}
                os.remove(notes)
            if code != 0:
                print(f"{name} fails without any mutant, and is left out", flush=True)
            return dict(
                program=program,
                name=name,
                seconds=time.time() - start,
                reached=reached,
                passes=code == 0,
            )

        entries = [
            (program, name)
            for program in self.programs.values()
            for name in self.names(program)
            if not any(part in name for part in SKIPPED)
        ]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            self.tests = [test for test in pool.map(one, entries) if test["passes"]]


def limited():
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 30, 4 << 30))


class Hunt:
    """Tries mutants against tests, and remembers which tests of a file notice most."""

    def __init__(self, tests, mutants, seconds):
        self.tests, self.mutants = tests, mutants
        self.quick = [test for test in tests.tests if test["seconds"] <= seconds]
        self.noticed = collections.Counter()
        self.lock = threading.Lock()

    def order(self, number):
        file = self.mutants[number]["file"]
        reaching = [test for test in self.quick if number in test["reached"]]

        def cost(test):
            of_file, of_all = self.noticed[file, test["name"]], self.noticed[test["name"]]
            return (test["seconds"] + 0.02) / (1 + of_file + of_all / 10)

        with self.lock:
            return sorted(reaching, key=cost)

    def one(self, number):
        for test in self.order(number):
            seconds = max(20, 5 * test["seconds"])
            chosen = {"CKPTDB_MUTANT": str(number)}
            code = self.tests.call(test["program"], test["name"], seconds, **chosen)
            if code != 0:
                with self.lock:
                    self.noticed[self.mutants[number]["file"], test["name"]] += 1
                    self.noticed[test["name"]] += 1
                return f"{'slow' if code == 'timeout' else 'caught'} {test['name']}"
        reached = any(number in test["reached"] for test in self.tests.tests)
        return "missed" if reached else "unreached"


def report(mutants, woven, results):
    files = collections.defaultdict(collections.Counter)
    for number in woven:
        if number in results:
            files[mutants[number]["file"]][results[number].split()[0]] += 1
    total = sum(files.values(), collections.Counter())
    for file, counts in sorted(files.items()):
        print(f"{file}: {dict(counts)}")
    for number in sorted(results):
        if number in woven and results[number] in ("missed", "unreached"):
            print(f"{results[number]}: {mutants[number]['name']}")
    caught = total["caught"] + total["slow"]
    tried = sum(total.values())
    share = caught / max(tried, 1)
    print(f"{len(mutants)} listed, {len(woven)} compile, {tried} tried, {caught} caught: {share:.1%}")


def main():
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=3, help="the longest test that is run")
    parser.add_argument("--sample", type=int, help="so many mutants, drawn at random")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    mutants = listed()
    woven = Build(work, mutants).run()
    names = keys(mutants)
    memory = work / "results.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    results = {n: known[names[n]] for n in woven if names[n] in known}
    todo = [n for n in sorted(woven) if not results.get(n, "").startswith(("caught", "slow"))]
    random.Random(7).shuffle(todo)
    todo = todo[: arguments.sample]
    tests = Tests(work)
    tests.reach()
    hunt = Hunt(tests, mutants, arguments.seconds)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for count, (number, result) in enumerate(zip(todo, pool.map(hunt.one, todo)), 1):
            results[number] = known[names[number]] = result
            memory.write_text(json.dumps(known))
            if count % 50 == 0:
                print(f"{count} of {len(todo)}", flush=True)
    shutil.rmtree(tests.scratch, ignore_errors=True)
    report(mutants, woven, results)


if __name__ == "__main__":
    main()
