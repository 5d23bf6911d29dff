"""Records what Orbax's preservation policies decide on random histories.

    pip install orbax-checkpoint && python tests/orbax/record.py > tests/orbax/decisions.json

`tests/orbax/mod.rs` compares what ours decide where the rules mean the same. Where they do not, the
histories are such that it makes no difference: Orbax keeps the later of equally good or equally near
checkpoints, and counts one near to 0 as near to a multiple; ours keep the earlier, and do not.
"""

import dataclasses
import datetime
import json
import random

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as cm

HOUR = datetime.timedelta(hours=1)


@dataclasses.dataclass
class Info:
    step: int
    metrics: dict | None
    time: datetime.datetime


def history(draw, interval, now):
    """Steps without ties between two multiples; every value once; ages between full hours."""
    count = draw.randint(1, 40)
    steps, taken = [], {}
    for step in sorted(draw.sample(range(interval, 400), count)):
        near = round(step / interval)
        distance = abs(step - near * interval)
        if 2 * distance == interval or distance in taken.get(near, ()):
            continue
        taken.setdefault(near, set()).add(distance)
        steps.append(step)
    values = draw.sample(range(1000), len(steps))
    ages = sorted((draw.randint(0, 99) for _ in steps), reverse=True)
    return [
        Info(step, {"reward": value / 8}, now - HOUR * age - HOUR / 2)
        for step, value, age in zip(steps, values, ages)
    ], ages


def policy(draw, interval):
    number = draw.randint(1, 9)
    kind = draw.choice(["latest", "best", "least", "every", "nearest", "within"])
    reward = lambda metrics: metrics["reward"]
    made = {
        "latest": lambda: cm.LatestN(n=number),
        "best": lambda: cm.BestN(get_metric_fn=reward, n=number),
        "least": lambda: cm.BestN(get_metric_fn=reward, n=number, reverse=True),
        "every": lambda: cm.EveryNSteps(interval_steps=interval),
        "nearest": lambda: cm.EveryNStepsClosest(interval_steps=interval),
        "within": lambda: cm.LatestDuration(HOUR * 10 * number),
    }[kind]()
    parameter = {"every": interval, "nearest": interval, "within": 10 * number}
    return [kind, parameter.get(kind, number)], made


def main():
    draw = random.Random(20261121)
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    cases = []
    for _ in range(400):
        interval = draw.choice([7, 10, 25, 60])
        infos, ages = history(draw, interval, now)
        rules, policies = zip(*[policy(draw, interval) for _ in range(draw.randint(1, 3))])
        kept = cm.AnyPreservationPolicy(list(policies)).should_preserve(
            infos, context=cm.PreservationContext()
        )
        cases.append({
            "rules": rules,
            "steps": [info.step for info in infos],
            "rewards": [info.metrics["reward"] for info in infos],
            "ages": ages,
            "kept": "".join("x" if keep else "." for keep in kept),
        })
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    print(f'{{"orbax":"{ocp.__version__}","cases":[\n{lines}\n]}}')


if __name__ == "__main__":
    main()
