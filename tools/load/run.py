"""`load`: many visitors at once on a running page, what they waited for, and whether it held."""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from gcd_core.checks import check_at_least
from gcd_core.cli.options import check_writable, write_json
from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.evaluation.markdown import markdown
from tools.load.browser import Browser, PageConfig
from tools.load.times import SAID, Times
from tools.load.visits import Habits, Visitor

ONE_IN = 10  # visitors searches
LOOKS = 10.0  # seconds between two looks at the server's memory
AT_THE_END = 300.0  # seconds over which the memory must be flat


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `load`."""
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:7860",
        help="of the running page, whose GCD_AUTH is taken here too",
    )
    parser.add_argument("--visitors", type=int, default=50, help="at once (default: 50)")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument(
        "--pause", type=float, default=4.0, help="seconds between a visitor's acts (default: 4)"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=256,
        help="of the searches of one visitor in ten (default: 256)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what they do (default: 0)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")


def main(args: argparse.Namespace) -> None:
    """Let the visitors come, print what they met, and fail where a goal was missed."""
    check_at_least(1, visitors=args.visitors)
    check_at_least(2, samples=args.samples)
    check_writable(args.json)
    if args.minutes <= 0 or args.pause < 0:
        raise GCDError("--minutes must be more than 0, and --pause no less.")
    times, state = asyncio.run(drive(args))
    rows = times.rows()
    print(markdown(rows, list(rows[0])) if rows else "Nobody did anything.")
    print(f"\nplaces in the line of searches: {sorted(set(times.places))}")
    if times.memory:
        held = [size / 2**20 for _, size in times.memory]
        print(
            f"memory: {held[0]:.0f} MiB at first, {max(held):.0f} at most, {held[-1]:.0f} at last"
        )
    for sentence in times.sentences[:SAID]:
        print(f"said: {sentence}")
    goals = times.goals(min(AT_THE_END, 30 * args.minutes))
    for goal, met in goals.items():
        print(f"{'met' if met else 'MISSED'}: {goal}")
    figures = {"visitors": args.visitors, "minutes": args.minutes, "server": state}
    write_json(args.json, {**figures, "events": rows, "goals": goals, "memory": times.memory})
    if not all(goals.values()):
        raise GCDError("The page did not hold: see what was missed above.")


async def drive(args: argparse.Namespace) -> tuple[Times, dict[str, Any]]:
    """Let visitors come over the first twentieth of the time, and stay until it is over."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    name, colon, password = (Environment().auth or "").partition(":")
    auth = (name, password) if colon else None
    async with httpx2.AsyncClient(
        base_url=args.url.rstrip("/"), timeout=120, limits=limits, auth=auth
    ) as http:
        config = await PageConfig.read(http)
        habits = Habits(args.pause, args.samples)
        times, began = Times(), time.monotonic()
        until = began + 60 * args.minutes
        looking = asyncio.create_task(look(http, times, began))
        visitors = [
            Visitor(Browser(http, config), habits, times, args.seed + i, i % ONE_IN == 0)
            for i in range(args.visitors)
        ]
        coming = 3 * args.minutes / args.visitors
        stays = [
            asyncio.create_task(come(visitor, i * coming, until))
            for i, visitor in enumerate(visitors)
        ]
        await asyncio.gather(*stays)
        looking.cancel()
        return times, (await http.get("/health")).json()


async def come(visitor: Visitor, after: float, until: float) -> None:
    """Visit after some seconds."""
    await asyncio.sleep(after)
    await visitor.stay(until)


async def look(http: httpx2.AsyncClient, times: Times, began: float) -> None:
    """Note the server's memory time after time, and how many are there, for who waits."""
    while True:
        try:
            state = (await http.get("/health")).json()
        except (httpx2.HTTPError, json.JSONDecodeError) as error:
            print(f"the server does not tell how it is: {error}", file=sys.stderr)
        else:
            if state.get("resident_bytes") is not None:
                times.memory.append((time.monotonic() - began, state["resident_bytes"]))
            done = times.count("done")
            print(f"{state.get('visitors')} visitors, {done} events answered", file=sys.stderr)
        await asyncio.sleep(LOOKS)
