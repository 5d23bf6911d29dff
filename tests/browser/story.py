"""A store with all that the report has a mark for, made with the program."""

import math
import subprocess

# What each job's marks are in its lineage, by iteration. The rollback to 400 left 500 and 600 behind;
# prune took these and what is old; 850 was left behind by the second rollback, and stays.
LINEAGE = {
    "saved": [400, 500, 650, 750, 800, 900, 1000],
    "deleted": [100, 200, 300, 450, 500, 600],
    "abandoned": [850],
    "best": [400],
    "back": [400, 800],
    "fork": [500],
}


# What nothing can break a line in.
LONG = "some_name_that_nobody_has_ever_thought_of_shortening_since_it_tells_all_that_there_is_to_know"


class Story:
    """Runs the program on one store."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.store = folder / f"story_{LONG}.ckptdb"

    def run(self, *words):
        command = [self.program, *map(str, words), "-s", str(self.store)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def save(self, job, iteration, reward, metric="reward"):
        (self.folder / "state.bin").write_bytes(f"{job} {iteration} {reward}".encode() * 50)
        loss = 1 / math.sqrt(iteration)
        self.run(
            "save", "state.bin", "--job", job, "--iteration", iteration, "--create",
            "--metric", f"{metric}:max={reward}", "--metric", f"loss={loss}",
        )

    def tell(self):
        """Saves, goes back, forks, prunes and deletes; the best reward is that of 400."""
        for iteration, reward in ((100, 1), (200, 3), (300, 4), (400, 9), (500, 2), (600, 1)):
            self.save("nq", iteration, reward)
        self.run("rollback", "nq@400", "--yes", "--reason", "it got worse")
        for iteration, reward in ((450, 5), (500, 4), (650, 6), (750, 5)):
            self.save("nq", iteration, reward)
        keep = ("--keep-latest", 4, "--keep-best", "reward=1")
        self.run("prune", "nq", *keep, "--yes")
        self.run("delete", "nq@450", "--yes")
        for iteration, reward in ((800, 7), (850, 1)):
            self.save("nq", iteration, reward)
        self.run("rollback", "nq@800", "--yes", "--reason", "it got worse again")
        self.save("nq", 900, 6)
        self.run("fork", "nq@500", "es")
        self.save("es", 700, 2)
        self.save("es", 1000, 8)
        self.save(LONG, 100, 1, metric=LONG)
        return self.store
