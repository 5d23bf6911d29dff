"""Imports what Stable-Baselines3 itself saved, and compares what comes out again.

Usage: import.py PATH_OF_CKPTDB. Needs stable-baselines3, on a PyTorch of any kind; `.ci/run` has
the versions.

Agents are trained for some seconds, and leave archives, statistics of VecNormalize and metadata as
in a project that has grown. What the store should say of them is computed here, from names and
JSON. What is exported must be the same to the byte, and an agent of it must act like the one that
was saved. The exit code is 1 on any mismatch.
"""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

TEMPLATE = (
    "{market}_ts-{iteration:07d}_evt-{event}_val-{val_reward:+.3f}"
    "_sharpe-{sharpe_ratio:+.2f}_seed-{seed}.zip"
)
# What SB3's CheckpointCallback has as a template.
STEPS = "{prefix}_{iteration:d}_steps.zip"
COUNT = 100
LEFT = {"notes.txt": "no template fits", "callbacks/evaluations.npz": "no template fits"}
# An episode is cut off after so many steps, so that no evaluation takes long.
EPISODE = 60


def as_printed(value):
    """JSON has no NaN: it is text."""
    return "NaN" if math.isnan(value) else value


@dataclass
class Agent:
    """An algorithm, what it learns, and how many steps lie between two checkpoints."""

    algorithm: type
    env: str
    market: str
    seed: int
    steps: int
    settings: dict


# Rewards of the first are positive, with ties; those of the second are negative.
AGENTS = [
    Agent(PPO, "CartPole-v1", "CartPole-v1", 7, 64, {"n_steps": 16, "n_epochs": 4}),
    Agent(A2C, "Pendulum-v1", "pendulum_mini", 11, 32, {"n_steps": 8}),
]


@dataclass
class Saved:
    """A checkpoint as it was saved: its file's name, what is known of it, and what it did."""

    agent: Agent
    iteration: int
    event: str
    val_reward: float
    sharpe_ratio: float
    metadata: dict | None = None
    deeds: dict = field(default_factory=dict)

    @property
    def stem(self):
        fields = {"market": self.agent.market, "seed": self.agent.seed} | vars(self)
        return TEMPLATE.format(**fields).removesuffix(".zip")

    def metrics(self):
        """What an importer can know: all digits if there are metadata, else those of the name."""
        told = self.metadata
        if told is None:
            val, sharpe = f"{self.val_reward:+.3f}", f"{self.sharpe_ratio:+.2f}"
            return {"val_reward": float(val), "sharpe_ratio": float(sharpe)}
        logged = {name: as_printed(value) for name, value in told["metrics"].items()}
        return logged | {name: told[name] for name in ("val_reward", "sharpe_ratio")}

    def attributes(self, folder):
        path = folder / f"{self.stem}.zip"
        own = {"market": self.agent.market, "seed": self.agent.seed}
        if self.metadata is not None:
            named = ("timestep", "val_reward", "sharpe_ratio", "metrics", "comment")
            own |= {name: value for name, value in self.metadata.items() if name not in named}
        modified = path.stat().st_mtime_ns // 1_000_000
        return own | {"imported_from": path.name, "modified_at_ms": modified}

    def files(self):
        names = {"model.zip": ".zip", "vecnormalize.pkl": "_vecnormalize.pkl"}
        if self.metadata is not None:
            names["metadata.json"] = "_metadata.json"
        return {entry: self.stem + end for entry, end in names.items()}


class Problems:
    """Counts comparisons, and says which of them failed: the first of each kind."""

    def __init__(self):
        self.done = 0
        self.failed = Counter()

    def check(self, same, what):
        self.done += 1
        if not same:
            kind = what.split()[0]
            self.failed[kind] += 1
            if self.failed[kind] <= 5:
                print(f"MISMATCH {what}", file=sys.stderr)

    def equal(self, found, expected, what):
        self.check(found == expected, f"{what}: {found!r}, not {expected!r}")

    def same_names(self, found, expected, what):
        more, missing = sorted(found - expected), sorted(expected - found)
        self.check(not more and not missing, f"{what}: too many {more}, missing {missing}")

    def same_items(self, found, expected, what):
        """Names those that differ; all floating-point numbers must be the same to the bit."""
        for name in sorted(found.keys() | expected.keys()):
            self.equal(found.get(name), expected.get(name), f"{what}: {name}")


def envs(env, count=1):
    def make():
        return Monitor(gymnasium.make(env, max_episode_steps=EPISODE))

    return DummyVecEnv([make] * count)


def normalized(env, count=1, **options):
    return VecNormalize(envs(env, count), **options)


def deeds(model, statistics):
    """What a model does where it is put: its weights, what it sees of some places, its actions."""
    shape = (64, *model.observation_space.shape)
    places = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    seen = statistics.normalize_obs(places)
    actions, _ = model.predict(seen, deterministic=True)
    weights = hashlib.sha256()
    for name, tensor in model.policy.state_dict().items():
        weights.update(name.encode() + tensor.numpy().tobytes())
    optimizer = model.policy.optimizer.state_dict()["state"]
    for name, moments in sorted(optimizer.items()):
        for word, value in sorted(moments.items()):
            weights.update(f"{name} {word}".encode() + np.asarray(value).tobytes())
    return {"weights": weights.hexdigest(), "seen": seen, "actions": actions}


def same_deeds(one, other):
    same_weights = one["weights"] == other["weights"]
    # A continuous action is a product of matrices, whose last digit may depend on where they lie.
    acts = np.allclose(one["actions"], other["actions"], rtol=1e-5, atol=1e-6)
    return same_weights and acts and np.array_equal(one["seen"], other["seen"])


def metadata(saved, model, number):
    """What a training script writes beside a checkpoint; NaN and all."""
    logged = {name: float(value) for name, value in model.logger.name_to_value.items()}
    # No episode has ended before the first checkpoint: SB3's mean is NaN.
    rewards = [episode["r"] for episode in model.ep_info_buffer]
    logged["rollout/ep_rew_mean"] = float(safe_mean(rewards))
    return {
        "market": saved.agent.market,
        "timestep": saved.iteration,
        "event": saved.event,
        "val_reward": saved.val_reward,
        "sharpe_ratio": saved.sharpe_ratio,
        "seed": saved.agent.seed,
        "algorithm": type(model).__name__,
        "learning_rate": model.learning_rate,
        "number": number,
        "comment": None,
        "metrics": logged,
    }


def train(agent, folder):
    """Trains an agent, and leaves 100 checkpoints; metadata for two of three."""
    env = normalized(agent.env, 4)
    watched = normalized(agent.env, 4, training=False, norm_reward=False)
    watched.seed(agent.seed)
    model = agent.algorithm("MlpPolicy", env, seed=agent.seed, device="cpu", **agent.settings)
    all_saved, best = [], -math.inf
    for number in range(1, COUNT + 1):
        model.learn(agent.steps, reset_num_timesteps=False)
        watched.obs_rms = env.obs_rms
        rewards, _ = evaluate_policy(model, watched, 4, return_episode_rewards=True)
        mean, deviation = float(np.mean(rewards)), float(np.std(rewards))
        event = "best" if mean > best else "final" if number == COUNT else "periodic"
        best = max(best, mean)
        sharpe = mean / deviation if deviation else 0.0
        saved = Saved(agent, model.num_timesteps, event, mean, sharpe)
        # Without the extension SB3 would take what is after the last point for one.
        model.save(folder / f"{saved.stem}.zip")
        env.save(str(folder / f"{saved.stem}_vecnormalize.pkl"))
        if number % 3:
            saved.metadata = metadata(saved, model, number)
            (folder / f"{saved.stem}_metadata.json").write_text(json.dumps(saved.metadata))
        saved.deeds = deeds(model, env)
        all_saved.append(saved)
    return all_saved


class Statistics(BaseCallback):
    """Saves the best model's statistics beside it, and keeps in mind when that was."""

    def __init__(self, path):
        super().__init__()
        self.path, self.iteration = path, None

    def _on_step(self):
        self.model.get_vec_normalize_env().save(str(self.path))
        self.iteration = self.num_timesteps
        return True


def train_with_callbacks(folder):
    """Trains as SB3's documentation has it; the iterations that are left, by the files' names."""
    env = normalized("CartPole-v1")
    model = DQN("MlpPolicy", env, buffer_size=500, learning_starts=50, seed=5, device="cpu")
    model.learn(200)
    model.save(folder / "phase1_200_steps")
    env.save(str(folder / "phase1_200_steps_vecnormalize.pkl"))
    best = Statistics(folder / "best_model_vecnormalize.pkl")
    every = CheckpointCallback(500, folder, save_replay_buffer=True, save_vecnormalize=True)
    # Never at an iteration at which the other saves.
    evaluate = EvalCallback(
        normalized("CartPole-v1", training=False, norm_reward=False),
        callback_on_new_best=best,
        n_eval_episodes=2,
        eval_freq=350,
        log_path=str(folder),
        best_model_save_path=str(folder),
        verbose=0,
    )
    model.learn(2000, callback=[every, evaluate], reset_num_timesteps=False)
    shutil.copy(folder / "rl_model_2200_steps.zip", folder / "final_model.zip")
    return best.iteration


def bytes_of(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def members(data, folder):
    """The members of an archive, and their bytes."""
    path = folder / "one.zip"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def check_planned(problems, planned, saved, folder):
    what = f"planned {saved.stem}"
    event = {"best": "best(val_reward)"}.get(saved.event, saved.event)
    problems.equal(planned["path"], f"{saved.stem}.zip", what)
    problems.equal(planned["job"], saved.agent.market, what)
    problems.equal(planned["iteration"], saved.iteration, what)
    problems.equal(planned["events"], [event], what)
    problems.same_items(planned["metrics"], saved.metrics(), what)
    problems.same_items(planned["attributes"], saved.attributes(folder), what)
    problems.equal(planned["files"], saved.files(), what)
    problems.equal(planned["tags"], [], what)
    size = sum((folder / name).stat().st_size for name in saved.files().values())
    problems.equal(planned["bytes"], size, what)


def the_dry_run_says_what_it_understood(run, folder, problems, agents, best_iteration):
    old = folder / "old"
    plan = run("import", old, "--dry-run")
    problems.check(plan["dry_run"] and plan["saved"] is None, "dry run")
    left = {left["path"]: left["why"] for left in plan["left"]}
    problems.same_names(left.keys(), LEFT.keys(), "left alone")
    for path, why in left.items():
        problems.check(why.startswith(LEFT.get(path, "?")), f"left alone: {path}: {why}")
    by_job = {}
    for planned in plan["checkpoints"]:
        by_job.setdefault(planned["job"], []).append(planned)
    jobs = {all_saved[0].agent.market for all_saved in agents} | {"callbacks"}
    problems.same_names(by_job.keys(), jobs, "jobs")
    for all_saved in agents:
        found = by_job.get(all_saved[0].agent.market, [])
        problems.equal(len(found), COUNT, "checkpoints of a job")
        for planned, saved in zip(found, all_saved):
            check_planned(problems, planned, saved, old)
    found = {planned["path"]: planned for planned in by_job.get("callbacks", [])}
    expected = callbacks_files(best_iteration)
    problems.same_names(found.keys(), expected.keys(), "what callbacks left")
    for path, (iteration, files, tags) in expected.items():
        planned = found.get(path, {})
        problems.equal(planned.get("iteration"), iteration, path)
        problems.equal(planned.get("files"), files, path)
        problems.equal(planned.get("tags"), tags, path)
    text = subprocess.run(
        [run.program, "import", old, "-n"], check=True, capture_output=True, text=True
    )
    named = [line.split() for line in text.stdout.splitlines()]
    for saved in agents[0] + agents[1]:
        rows = [row for row in named if row[0] == f"{saved.stem}.zip"]
        words = [saved.agent.market, f"{saved.iteration:,}"]
        problems.check([row[1:3] for row in rows] == [words], f"row of {saved.stem}")
    problems.check(not run.store.exists(), "a dry run makes no store")
    print(f"dry run: {len(plan['checkpoints'])} checkpoints, {len(left)} left alone")


def callbacks_files(best_iteration):
    """Iteration, files and tags that the files of SB3's callbacks should be understood as."""
    found = {}
    for iteration in (700, 1200, 1700, 2200):
        path = f"callbacks/rl_model_{iteration}_steps.zip"
        files = {
            "model.zip": path,
            "vecnormalize.pkl": f"callbacks/rl_model_vecnormalize_{iteration}_steps.pkl",
            "replay_buffer.pkl": f"callbacks/rl_model_replay_buffer_{iteration}_steps.pkl",
        }
        found[path] = (iteration, files, ["final_model"] if iteration == 2200 else [])
    for stem, iteration, tags in [
        ("callbacks/phase1_200_steps", 200, []),
        ("callbacks/best_model", best_iteration, ["best_model"]),
    ]:
        files = {"model.zip": f"{stem}.zip", "vecnormalize.pkl": f"{stem}_vecnormalize.pkl"}
        found[f"{stem}.zip"] = (iteration, files, tags)
    return found


def the_import_is_complete_and_in_order(run, folder, problems, agents):
    old = folder / "old"
    before, start = bytes_of(old), time.monotonic()
    done = run("import", old, "--create")
    seconds = time.monotonic() - start
    count = len(agents) * COUNT + 6
    problems.equal((done["saved"], done["already"], done["failed"]), (count, 0, []), "import")
    problems.check(bytes_of(old) == before, "the folder stays as it was")
    again = run("import", old)
    problems.equal((again["saved"], again["already"]), (0, count), "import once more")
    size, stored = sum(map(len, before.values())), run.store.stat().st_size
    print(f"import: {count} checkpoints in {seconds:.1f} s; the folder has {size:,} bytes")
    print(f"the store: {stored:,} bytes, {stored / size:.3f} of the folder's")
    for all_saved in agents:
        job = all_saved[0].agent.market
        listed = run("ls", job, "--all")["checkpoints"][::-1]
        found = [checkpoint["iteration"] for checkpoint in listed]
        problems.equal(found, [saved.iteration for saved in all_saved], f"order of {job}")
        ids = [checkpoint["id"] for checkpoint in listed]
        problems.equal(ids, sorted(ids), f"order in which {job} was saved")
        for checkpoint, saved in zip(listed, all_saved):
            what = f"imported {saved.stem}"
            problems.same_items(checkpoint["metrics"], saved.metrics(), what)
            problems.same_items(checkpoint["attributes"], saved.attributes(old), what)


def best_of(all_saved, metric):
    """Those that are best by a metric, best first; of equal ones the earlier."""
    return sorted(all_saved, key=lambda saved: (-saved.metrics()[metric], saved.iteration))


def latest_and_best_are_right(run, problems, agents):
    for all_saved in agents:
        job = all_saved[0].agent.market
        latest = run("show", f"{job}@latest")["checkpoint"]["iteration"]
        problems.equal(latest, all_saved[-1].iteration, f"{job}@latest")
        for metric in ("val_reward", "sharpe_ratio"):
            expected = [saved.iteration for saved in best_of(all_saved, metric)[:5]]
            found = run("best", job, metric, "--count", "5")["checkpoints"]
            found = [checkpoint["iteration"] for checkpoint in found]
            problems.equal(found, expected, f"best of {job} by {metric}")
            found = run("show", f"{job}@best:{metric}")["checkpoint"]["iteration"]
            problems.equal(found, expected[0], f"{job}@best:{metric}")
        best = best_of(all_saved, "val_reward")[0]
        found = run("show", f"{job}@best")["checkpoint"]["iteration"]
        problems.equal(found, best.iteration, f"{job}@best")
        ties = sum(saved.metrics()["val_reward"] == best.metrics()["val_reward"]
                   for saved in all_saved)
        print(f"{job}: latest {latest}, best {best.iteration} with {best.val_reward:+.6f}, "
              f"as {ties} of {COUNT}")


def what_is_exported_is_the_same(run, folder, problems, agents):
    old, back = folder / "old", folder / "back"
    for all_saved in agents:
        job = all_saved[0].agent.market
        run("export", job, "--all", "--template", TEMPLATE, "-o", back)
    own = {name: data for name, data in bytes_of(old).items() if "_evt-" in name}
    found = bytes_of(back)
    problems.same_names(found.keys(), own.keys(), "names of what is exported")
    parts = 0
    for name, data in own.items():
        problems.check(found.get(name) == data, f"exported {name}")
        if name.endswith(".zip") and name in found:
            ours, theirs = members(found[name], folder), members(data, folder)
            problems.same_names(ours.keys(), theirs.keys(), f"members of {name}")
            problems.check("policy.pth" in theirs, f"{name} is an archive of SB3's")
            for member, bytes_there in theirs.items():
                problems.check(ours.get(member) == bytes_there, f"{member} of {name}")
                parts += 1
    print(f"export: {len(own)} files compared, and {parts} members of their archives")


def what_callbacks_left_is_exported(run, folder, problems):
    """SB3 has the kind of a companion within its name; here it is at the end, as for all."""
    old, back = bytes_of(folder / "old" / "callbacks"), folder / "callbacks"
    for iteration in (700, 1200, 1700, 2200):
        run("export", f"callbacks@{iteration}", "--template", STEPS, "-o", back)
    phase = "phase{phase:d}_{iteration:d}_steps.zip"
    run("export", "callbacks@200", "--template", phase, "-o", back)
    expected = {}
    for name, data in old.items():
        kind = next((kind for kind in ("vecnormalize", "replay_buffer") if kind in name), None)
        if kind and name.startswith("rl_model"):
            name = name.replace(f"_{kind}", "").replace(".pkl", f"_{kind}.pkl")
        if "_steps" in name:
            expected[name] = data
    found = bytes_of(back)
    problems.same_names(found.keys(), expected.keys(), "names of what callbacks left")
    for name, data in expected.items():
        problems.check(found.get(name) == data, f"exported {name}")
    run("export", "callbacks@tag:best_model", "-o", folder / "best")
    found = bytes_of(folder / "best")
    expected = {"model.zip": old["best_model.zip"]}
    expected["vecnormalize.pkl"] = old["best_model_vecnormalize.pkl"]
    problems.check(found == expected, f"callbacks@tag:best_model: {sorted(found)}")


def load(agent, folder, stem):
    """What is exported, as a training script loads it."""
    model = agent.algorithm.load(folder / f"{stem}.zip", device="cpu")
    statistics = VecNormalize.load(str(folder / f"{stem}_vecnormalize.pkl"), envs(agent.env))
    return model, statistics


def an_exported_agent_acts_as_the_saved_one(run, folder, problems, agents):
    loaded = 0
    for all_saved in agents:
        for saved in all_saved:
            model, statistics = load(saved.agent, folder / "back", saved.stem)
            same = same_deeds(deeds(model, statistics), saved.deeds)
            problems.check(same, f"what the exported {saved.stem} does")
            problems.equal(model.num_timesteps, saved.iteration, f"steps of {saved.stem}")
            loaded += 1
        job, best = all_saved[0].agent.market, best_of(all_saved, "val_reward")[0]
        only = folder / f"best-{job}"
        run("export", f"{job}@best", "--template", TEMPLATE, "-o", only)
        model, statistics = load(best.agent, only, best.stem)
        ours = deeds(model, statistics)
        problems.check(same_deeds(ours, best.deeds), f"what the best of {job} does")
        # With the statistics of another one it would be another agent.
        others = [saved for saved in all_saved if saved is not best]
        strangers = [saved for saved in others if np.array_equal(saved.deeds["seen"], ours["seen"])]
        problems.equal([saved.stem for saved in strangers], [], "those with the best's statistics")
    print(f"agents: {loaded} loaded again, and what they do compared")


def a_best_model_does_not_keep_out_the_checkpoint_of_its_step(run, folder, problems):
    """Both callbacks save at one step; their archives differ in nothing but the time."""
    both = folder / "both"
    both.mkdir()
    env = normalized("CartPole-v1")
    model = A2C("MlpPolicy", env, seed=1, device="cpu")
    model.learn(100)
    model.save(both / "rl_model_100_steps")
    env.save(str(both / "rl_model_vecnormalize_100_steps.pkl"))
    # Times in an archive are even seconds.
    time.sleep(2.1)
    model.save(both / "best_model")
    files = bytes_of(both)
    one, other = files["rl_model_100_steps.zip"], files["best_model.zip"]
    assert one != other and members(one, folder) == members(other, folder)
    plan = run("import", both, "--dry-run")
    found = [planned["files"] for planned in plan["checkpoints"]]
    numbered = {"model.zip": "rl_model_100_steps.zip"}
    numbered["vecnormalize.pkl"] = "rl_model_vecnormalize_100_steps.pkl"
    problems.equal(found, [numbered], "both archives of one step")
    named = [tag for planned in plan["checkpoints"] for tag in planned["tags"]]
    problems.equal(plan["left"], [], "of both archives of one step")
    problems.equal(named, ["best_model"], "the other archive of that step is a tag")


def infinite_settings_do_not_keep_an_archive_out(run, folder, problems):
    """SB3 writes them as Python's JSON has them: `Infinity`."""
    endless = folder / "endless"
    endless.mkdir()
    model = A2C("MlpPolicy", envs("CartPole-v1"), max_grad_norm=math.inf, device="cpu")
    model.learn(40)
    model.save(endless / "final_model")
    data = members((endless / "final_model.zip").read_bytes(), folder)["data"]
    assert b'"max_grad_norm": Infinity' in data
    plan = run("import", endless, "--dry-run")
    found = [(planned["iteration"], planned["tags"]) for planned in plan["checkpoints"]]
    problems.equal(found, [(model.num_timesteps, ["final_model"])], "endless/final_model.zip")


def a_name_with_a_dot_in_it_needs_no_extension(run, folder, problems):
    """SB3 takes what is behind the last dot for the extension, and adds none."""
    bare = folder / "bare"
    bare.mkdir()
    model = A2C("MlpPolicy", envs("CartPole-v1"), device="cpu")
    model.learn(40)
    stem = "NQ_ts-0000040_evt-periodic_val-+0.500_sharpe-+1.25_seed-7"
    model.save(bare / stem)
    (bare / f"{stem}_metadata.json").write_text(json.dumps({"val_reward": 0.5001}))
    assert (bare / stem).exists()
    plan = run("import", bare, "--dry-run")
    problems.equal(plan["left"], [], "of a name with a dot in it")
    [planned] = plan["checkpoints"] or [{}]
    files = {"model": stem, "metadata.json": f"{stem}_metadata.json"}
    problems.equal(planned.get("files"), files, "files of a name with a dot in it")
    metrics = {"val_reward": 0.5001, "sharpe_ratio": 1.25}
    problems.equal(planned.get("metrics"), metrics, "metrics of a name with a dot in it")


def the_store_is_smaller_than_the_folder(run, folder, problems):
    """A file has room for more while it grows; compacted it has what it holds."""
    run("compact")
    size = sum(map(len, bytes_of(folder / "old").values()))
    stored = run.store.stat().st_size
    problems.check(stored < size, f"compacted: {stored} bytes of a folder of {size}")
    print(f"compacted: {stored:,} bytes, {stored / size:.3f} of the folder's")


class Program:
    """The command line, on one store; answers are JSON."""

    def __init__(self, program, store):
        self.program, self.store = Path(program).resolve(), store

    def __call__(self, *words):
        command = [self.program, "--store", self.store, "--json", *words]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"ckptdb {words[0]} exited {done.returncode}: {done.stderr.decode()}")
        return json.loads(done.stdout)


def main():
    problems = Problems()
    torch.set_num_threads(1)
    print(f"stable-baselines3 {stable_baselines3.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.monotonic()
        run, old = Program(sys.argv[1], folder / "runs.ckptdb"), folder / "old"
        os.makedirs(old / "callbacks")
        (old / "notes.txt").write_text("what was tried")
        agents = [train(agent, old) for agent in AGENTS]
        best_iteration = train_with_callbacks(old / "callbacks")
        print(f"training: {time.monotonic() - start:.1f} s")
        the_dry_run_says_what_it_understood(run, folder, problems, agents, best_iteration)
        the_import_is_complete_and_in_order(run, folder, problems, agents)
        latest_and_best_are_right(run, problems, agents)
        what_is_exported_is_the_same(run, folder, problems, agents)
        what_callbacks_left_is_exported(run, folder, problems)
        an_exported_agent_acts_as_the_saved_one(run, folder, problems, agents)
        a_best_model_does_not_keep_out_the_checkpoint_of_its_step(run, folder, problems)
        infinite_settings_do_not_keep_an_archive_out(run, folder, problems)
        a_name_with_a_dot_in_it_needs_no_extension(run, folder, problems)
        the_store_is_smaller_than_the_folder(run, folder, problems)
        run("verify")
    print(f"import: {problems.done} comparisons, {problems.failed.total()} mismatches")
    sys.exit(1 if problems.failed else 0)


if __name__ == "__main__":
    main()
