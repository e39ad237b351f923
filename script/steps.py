"""
Several runs of script/run.py, some after others, as many at a time as there are cores for; what is finished
and would come out the same is kept.
"""
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
STATE = "steps.json"
# seconds between two lines about a run, and the metrics in them
PROGRESS = 15
SHOWN = ("loss", "accuracy", "retrieval accuracy")


@dataclasses.dataclass
class Step:
    """
    One run.

    Parameters:
        name (str): name of the run and of its folder
        arguments (list of str): for run.py, without ``--out``
        after (str, optional): name of the step that has to be finished before
        key (str, optional): digest of everything that decides how it comes out
    """

    name: str
    arguments: list
    after: str | None = None
    key: str = ""


class StepFailed(Exception):
    """A run ended with an exit code other than 0; the message holds what it said."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class State:
    """
    The file ``steps.json``: which steps are finished, from which inputs, in how many seconds.

    Parameters:
        out (Path): output folder
        force (bool, optional): forget what is finished
    """

    def __init__(self, out, force=False):
        self.path = out / STATE
        self.lock = threading.Lock()
        self.steps = {}
        if not force:
            # empty when it was just made, cut off when the disk was full: then nothing is finished
            with contextlib.suppress(ValueError, FileNotFoundError):
                self.steps = json.loads(self.path.read_text(encoding="utf-8"))

    def fresh(self, name, key, *outputs):
        """Whether a step is finished, from the same inputs, and its outputs are there."""
        return self.steps.get(name, {}).get("key") == key and all(output.exists() for output in outputs)

    def set(self, name, key=None, seconds=0.0):
        """Note that a step is finished or, without a key, that it is not."""
        with self.lock:
            self.steps.pop(name, None)
            if key is not None:
                self.steps[name] = {"key": key, "seconds": round(seconds, 1)}
            temporary = self.path.with_suffix(".part")
            temporary.write_text(json.dumps(self.steps, indent=2) + "\n", encoding="utf-8")
            temporary.replace(self.path)


@contextlib.contextmanager
def locked(out):
    """Make the output folder, keep a second process that works in it out, and return the file of the lock."""
    if out.is_dir() and any(out.iterdir()) and not (out / STATE).is_file():
        raise ValueError(f"`{out}` holds files that are not from here; give another folder by --out")
    out.mkdir(parents=True, exist_ok=True)
    with open(out / STATE, "a", encoding="utf-8"), open(out / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process works in `{out}`; wait, or give another --out") from None
        yield lock


class Runner:
    """
    Runs steps, several at a time, and says how far they are.

    Parameters:
        out (Path): output folder
        state (State): what is finished
        jobs (int): runs at a time
        lock (file): lock of the output folder
    """

    def __init__(self, out, state, jobs, lock):
        self.out, self.state, self.jobs, self.lock_file = out, state, jobs, lock
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.processes = {}
        self.stopping = False

    def say(self, text):
        """Print a line with the time since the start."""
        seconds = int(time.monotonic() - self.began)
        with self.lock:
            click.echo(f"{seconds // 60:2d}:{seconds % 60:02d}  {text}")

    def run(self, steps):
        """Run steps, each after the one it waits for. The first failure ends the others and is raised."""
        waiting, running = list(steps), {}
        unfinished = {step.name for step in steps}
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            try:
                while waiting or running:
                    ready = [step for step in waiting if step.after not in unfinished]
                    for step in ready[:self.jobs - len(running)]:
                        waiting.remove(step)
                        running[pool.submit(self._run, step)] = step
                    # not for ever: a signal that the system gave to another thread does not wake this one
                    done, _ = concurrent.futures.wait(running, 0.5, concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        future.result()
                        unfinished.remove(running.pop(future).name)
            except BaseException:
                self._stop()
                raise
            finally:
                signal.signal(signal.SIGTERM, before)

    def _stop(self):
        """End what is running and start nothing more."""
        with self.lock:
            self.stopping = True
            for process in self.processes.values():
                process.terminate()

    def _run(self, step):
        """Run a step into its folder, which is made anew."""
        log = self.out / f"{step.name}.log"
        began = time.monotonic()
        with self.lock:
            if self.stopping:
                return
            self.state.set(step.name)
            shutil.rmtree(self.out / step.name, ignore_errors=True)
            process = self.processes[step.name] = subprocess.Popen(
                command(step, self.out), cwd=ROOT, env=self._environment(), text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                # a run holds the lock too: it may outlive this process, if that is killed
                pass_fds=[self.lock_file.fileno()])
        self.say(f"{step.name}: started")
        with open(log, "w", encoding="utf-8") as file:
            tested = self._follow(step, process, file)
        code = process.wait()
        with self.lock:
            del self.processes[step.name]
        if code == 0:
            self.state.set(step.name, step.key, time.monotonic() - began)
            self.say(f"{step.name}: finished in {time.monotonic() - began:.0f} s{tested}")
        elif not self.stopping:
            raise StepFailed(f"{step.name} ended with exit code {code}; its whole output is in {log}\n"
                             f"{_reason(log)}", code if code > 0 else 128 - code)

    def _follow(self, step, process, log):
        """Write the output of a run to its log, and now and then a line to the terminal; return its test metrics."""
        said, tested = time.monotonic(), ""
        for line in process.stdout:
            log.write(line)
            log.flush()
            found = re.search(r"(epoch \d+), (training|test): (.*)", line)
            values = ", ".join(v for v in found[3].split(", ") if v.startswith(SHOWN)) if found else ""
            if found and found[2] == "test":
                tested = f"; test: {values}" if values else ""
            elif found and time.monotonic() - said > PROGRESS:
                said = time.monotonic()
                self.say(f"{step.name}: {found[1]}, {values}")
        return tested

    def _environment(self):
        """Environment of a run: this package importable, the cores shared out."""
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment.setdefault("OMP_NUM_THREADS", str(min(4, max(1, cores() // self.jobs))))
        return environment


def command(step, out):
    """Command line of a step, to be run in the root of the repository."""
    return [sys.executable, "script/run.py", *step.arguments, "--out", shown(out / step.name)]


def shown(path):
    """A path relative to the root of the repository where it lies inside, for commands that are run there."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def cores():
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def digest(*parts):
    """Short digest of texts and files; a file that is missing counts too."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            part = part.read_bytes() if part.is_file() else b"missing"
        content = part.encode() if isinstance(part, str) else part
        whole.update(b"%d " % len(content) + content)
    return whole.hexdigest()[:24]


def _reason(log):
    """The error a run ended with: the lines from `error:` on, else the last ones."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [i for i, line in enumerate(lines) if line.startswith("error:")]
    return "\n".join(lines[errors[-1]:] if errors else lines[-15:])
