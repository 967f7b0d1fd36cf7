"""A Space with shared GPUs: a stand-in `spaces` that forks for each call, and takes no CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

SPACES = '''
"""Runs a decorated function in a forked process, and refuses what lies on a GPU."""
import functools, os, pickle
from spaces import config

ASKED = {}

class Strict(pickle.Pickler):
    def reducer_override(self, thing):
        if type(thing).__name__ == "OnGpu":
            raise RuntimeError("a tensor on the GPU crosses the border")
        return NotImplemented

def across(value, pipe):
    with os.fdopen(pipe, "wb") as file:
        Strict(file).dump(value)

def GPU(function=None, duration=60):
    if function is None:
        return functools.partial(GPU, duration=duration)
    ASKED[function.__name__] = duration

    @functools.wraps(function)
    def call(*args, **options):
        pickle.dumps((args, options))  # as the arguments are sent
        back, forth = os.pipe()
        child = os.fork()
        if not child:
            os.close(back)
            try:
                across((True, function(*args, **options)), forth)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
            os._exit(0)
        os.close(forth)
        with os.fdopen(back, "rb") as file:
            data = file.read()
        os.waitpid(child, 0)
        if not data:
            raise RuntimeError("the process of the GPU died")
        return pickle.loads(data)[1]

    return call
'''

VISIT = '''
import json, sys, tempfile, threading
from pathlib import Path
import spaces
import torch
from gcd_core.generators.base import Latent
from gcd_core.ui.engine import hosting
from gcd_core.ui.session.registry import Visitors
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for_paths

class OnGpu(torch.Tensor):
    """A tensor on the CPU that is taken for one on a GPU, until it is brought to the CPU."""
    def to(self, *args, **options):
        moved = super().to(*args, **options)
        return moved.as_subclass(torch.Tensor) if "cpu" in args else moved
    def cpu(self):
        return self.as_subclass(torch.Tensor)

assert not hosting.RUNS_IN_PROCESS
domain = FakeDomain(Path(tempfile.mkdtemp()), examples=2)
encode = domain.generator.encode
def on_gpu(*args, **options):
    latent = encode(*args, **options)
    return Latent(latent.z_sem.as_subclass(OnGpu), latent.z_T.as_subclass(OnGpu))
domain.generator.encode = on_gpu
visitors = Visitors(domain)
session = visitors.session("somebody")
session.open_example(0)
wait_for_paths(session)
moved = session.image.sliders.move({"g": 1.0, "h1": 1.0}) is not None
search = session.start_search(domain.search.changed(n_samples=64))
search.wait(120)
print(json.dumps({"asked": spaces.ASKED, "moved": moved, "search": search.state,
                  "paths": session.image.paths.ready, "message": search.error}))
visitors.close()
'''


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_each_call_has_a_process_and_a_time_of_its_own_and_nothing_of_the_gpu_leaves_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces/__init__.py").write_text(SPACES)
    (tmp_path / "spaces/config.py").write_text("class Config:\n    zero_gpu = True\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", VISIT],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["moved"] and told["search"] == "done" and told["paths"] == 5, told
    asked = told["asked"]
    assert asked["decode"] < asked["encode"] < asked["walk"] < asked["find"]
    assert {"ask_oracle", "walk_line", "narrow", "try_walk", "steer", "walk_toward"} < asked.keys()
