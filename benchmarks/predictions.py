"""Predictions over HTTP: how fast, how many at once, and whether a change of champion or a long load is noticed.

python benchmarks/predictions.py [--only speed,champions,load] [--minutes 10]

The cache of answers is off, and every call asks about another cycle.
"""

import argparse
import asyncio
import itertools
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

import orjson
import psutil
from measuring import show
from prediction_rig import Connection, Rig, direct, facade, rig

WITHIN_S = 5.0  # in which a new champion has to answer
SWITCHES, SWITCH_EVERY_S = 20, 3.0
SHARE_OF_CAPACITY = 0.8
SAMPLE_EVERY_S = 2.0


def quantile(values: list[float], share: float) -> float:
    """The smallest of the values that at least ``share`` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def alone(connection: Connection, times: int) -> list[float]:
    """Milliseconds of several calls one after another, after one that warms."""
    await connection.close()
    await connection.timed()
    return [await connection.timed() for _ in range(times)]


async def together(rig: Rig, count: int, times: int) -> tuple[list[float], float]:
    """Milliseconds of the calls of ``count`` clients, ``times`` each, and how many a second there were."""
    connections = [facade(rig, first=7 * number) for number in range(count)]
    await asyncio.gather(*(connection.timed() for connection in connections))

    async def client(connection: Connection) -> list[float]:
        return [await connection.timed() for _ in range(times)]

    began = time.perf_counter()
    durations = list(itertools.chain(*await asyncio.gather(*map(client, connections))))
    seconds = time.perf_counter() - began
    for connection in connections:
        await connection.close()
    return durations, len(durations) / seconds


async def speed(rig: Rig) -> None:
    """One, a batch, 8 clients, 16 clients; the best of several alternating rounds."""
    asked = ((direct(rig), 80), (facade(rig), 80), (facade(rig, batch=50), 10))
    medians: list[list[float]] = [[], [], []]
    tails, rates, single = [], [], []
    for _ in range(5):
        for found, (connection, times) in zip(medians, asked, strict=True):
            found.append(statistics.median(await alone(connection, times)))
        eight, _ = await together(rig, 8, 40)
        tails.append((quantile(eight, 0.99) / statistics.median(eight), statistics.median(eight)))
        single.append((await together(rig, 1, 80))[1])
        rates.append((await together(rig, 16, 40))[1])
    one, through, fifty = (min(found) for found in medians)
    tail, eight_ms = min(tails)
    rows = [
        ["one, BentoML asked directly, p50 ms", one, "", ""],
        ["one, through the API, p50 ms", through, f"{through / one:.2f} x", "≤ 2.5 x"],
        ["a batch of 50, p50 ms", fifty, f"{fifty / through:.2f} x one", "≤ 4 x"],
        ["8 clients, p50 ms", eight_ms, f"p99 {tail:.2f} x p50", "≤ 5 x"],
        ["1 client, a second", max(single), "", ""],
        ["16 clients, a second", max(rates), f"{max(rates) / max(single):.2f} x", "≥ 5 x"],
    ]
    show("Predictions", ("what", "best of 5 rounds", "ratio", "goal"), rows)


@dataclass
class Log:
    """Which model was champion since when, and what was answered when."""

    champions: list[tuple[float, int]] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def judge(self, asked_at: float, status: int, body: bytes) -> None:
        """Count an answer: right when its model was champion at some time from ``WITHIN_S`` before it was asked."""
        if status != 200:
            self.answers["failed"] += 1
            return
        ends = [moment for moment, _ in self.champions[1:]] + [float("inf")]
        allowed = {model for (_, model), end in zip(self.champions, ends, strict=True) if end >= asked_at - WITHIN_S}
        self.answers["right" if orjson.loads(body)["model_id"] in allowed else "wrong model"] += 1


async def champions(rig: Rig) -> None:
    """Eight clients ask all the time while the champion changes."""
    log, over = Log(), False
    versions = itertools.cycle(rig.models)
    next(versions)
    log.champions.append((time.monotonic(), next(iter(rig.models.values()))))

    async def client(number: int) -> None:
        connection = facade(rig, first=7 * number)
        while not over:
            asked_at = time.monotonic()
            log.judge(asked_at, *await connection())
        await connection.close()

    clients = [asyncio.create_task(client(number)) for number in range(8)]
    for version in itertools.islice(versions, SWITCHES):
        await asyncio.sleep(SWITCH_EVERY_S)
        log.champions.append((time.monotonic(), rig.models[version]))  # earlier than it is: none is let pass for it
        await asyncio.to_thread(rig.set_champion, version)
    await asyncio.sleep(WITHIN_S + 1)
    over = True
    await asyncio.gather(*clients)
    found = log.answers
    rows = [[name, found[name]] for name in ("right", "wrong model", "failed")]
    show(f"Answers while the champion changed {SWITCHES} times", ("answer", "count"), rows)


def resident_mib(process: psutil.Process) -> float:
    """Memory of a process."""
    return float(process.memory_info().rss) / 2**20


def worker_of(process: psutil.Process) -> psutil.Process:
    """The largest of a process and its children: of BentoML, the one that holds the models."""
    return max([process, *process.children(recursive=True)], key=resident_mib)


async def load(rig: Rig, minutes: float) -> None:
    """Calls at a fixed rate, 80 % of what 16 clients reached, and the memory that they take."""
    capacity = max([(await together(rig, 16, 40))[1] for _ in range(3)])
    rate, count = SHARE_OF_CAPACITY * capacity, 16
    until = time.monotonic() + 60 * minutes
    statuses: Counter[int] = Counter()
    durations: list[float] = []
    memory: dict[str, list[float]] = {"API": [], "BentoML": []}

    async def client(number: int) -> None:
        connection, due = facade(rig, first=7 * number), time.monotonic() + number / rate
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            status, _ = await connection()
            statuses[status] += 1
            durations.append(1000 * (time.monotonic() - due))  # from when it was due: waiting counts
            due += count / rate
        await connection.close()

    serving = worker_of(rig.serving)

    async def watch() -> None:
        while time.monotonic() < until:
            for name, process in (("API", rig.api), ("BentoML", serving)):
                memory[name].append(resident_mib(process))
            await asyncio.sleep(SAMPLE_EVERY_S)

    await asyncio.gather(watch(), *(client(number) for number in range(count)))
    errors = sum(statuses.values()) - statuses[200]
    rows = [
        [f"calls at {rate:.0f} a second for {minutes:g} min", sum(statuses.values())],
        ["errors", errors],
        ["p50 ms, from when the call was due", statistics.median(durations)],
        ["p99 ms", quantile(durations, 0.99)],
    ]
    for name, sizes in memory.items():
        settled = sizes[len(sizes) // 5 :]  # pools, caches and connections fill first
        middle = statistics.median(settled)
        rows.append([f"{name}, MiB", f"{middle:.0f}"])
        rows.append(
            ["… in the last four fifths", f"{min(settled) / middle - 1:+.1%} to {max(settled) / middle - 1:+.1%}"]
        )
    show(f"{SHARE_OF_CAPACITY:.0%} of capacity", ("what", "measured"), rows)


async def measure(rig: Rig, only: set[str], minutes: float) -> None:
    """The parts that are asked for."""
    for connection in (direct(rig), facade(rig), facade(rig, batch=50)):
        await alone(connection, 20)
        await connection.close()
    if "speed" in only:
        await speed(rig)
    if "champions" in only:
        await champions(rig)
    if "load" in only:
        await load(rig, minutes)


def main() -> None:
    """Start everything once, then measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="speed,champions,load")
    parser.add_argument("--minutes", type=float, default=10.0)
    chosen = parser.parse_args()
    with rig() as furnished:
        asyncio.run(measure(furnished, set(chosen.only.split(",")), chosen.minutes))


if __name__ == "__main__":
    main()
