"""The long run: episodes until so many hours are simulated; what was in them; a failing one, shrunk, as text."""

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from simulator.episode import Episode, draw
from simulator.play import Result, play
from simulator.shrink import shrink
from virtualip_agent.vrrp.timing import SECOND


@dataclass
class Tally:
    """What a run contained."""

    episodes: int = 0
    advertisements: int = 0
    transitions: int = 0
    repairs: int = 0
    damped: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    hours: Counter[str] = field(default_factory=Counter)
    """By advertisement interval."""
    grouped_hours: float = 0.0

    def add(self, episode: Episode, result: Result) -> None:
        """One more episode."""
        self.episodes += 1
        self.advertisements += result.advertisements
        self.transitions += result.transitions
        self.repairs += result.repairs
        self.damped += result.damped
        self.faults.update(result.faults)
        self.hours[f"{episode.interval / SECOND:g} s"] += result.seconds / 3600  # type: ignore[assignment]
        if episode.segments > 1:
            self.grouped_hours += result.seconds / 3600

    @property
    def total_hours(self) -> float:
        """Simulated."""
        return sum(self.hours.values())

    def __str__(self) -> str:
        hours = ", ".join(f"{hours:.1f} at {interval}" for interval, hours in sorted(self.hours.items()))
        total, faults = max(self.total_hours, 1e-9), sum(self.faults.values())
        kinds = ", ".join(f"{verb} {count}" for verb, count in self.faults.most_common())
        return (
            f"{total:.1f} simulated hours ({hours}; {self.grouped_hours:.1f} with sync groups) in {self.episodes} "
            f"episodes: {faults} faults "
            f"({faults / total:.0f} an hour), {self.repairs} repairs checked ({self.damped} when damping was over), "
            f"{self.transitions} transitions, {self.advertisements} advertisements\n  {kinds}"
        )


def simulate(hours: float, seed: int, tally: Tally | None = None) -> tuple[int, Episode, Result] | None:
    """Plays the episodes seed, seed + 1 ... ; the first that fails, with its number, or None."""
    tally = tally or Tally()
    while tally.total_hours < hours:
        episode = draw(seed)
        result = play(episode)
        tally.add(episode, result)
        if result.foul:
            return seed, episode, result
        seed += 1
    return None


def explain(seed: int, episode: Episode) -> str:
    """The failing episode, shrunk, with what happened in it."""
    small = shrink(episode)
    result = play(small, transcript=True)
    last = "\n".join(_changes(result.transcript)[-60:])
    return f"seed {seed}, shrunk to {small.faults} faults: {result.foul} (at {result.at} s)\n\n{last}\n\n{small}"


def _changes(transcript: list[str]) -> list[str]:
    """Without what a node says again and again."""
    said: dict[str, str] = {}
    lines: list[str] = []
    for line in transcript:
        _, node, text = line.split(maxsplit=2)
        if said.get(node) != text and text != "gratuitous ARP":
            lines.append(line)
            said[node] = text
    return lines


def main() -> int:
    """The exit status: 1 where an episode failed."""
    parser = argparse.ArgumentParser(prog="simulator")
    parser.add_argument("--hours", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="a file with an episode as it was printed")
    options = parser.parse_args()
    if options.replay:
        result = play(Episode.parse(options.replay.read_text()), transcript=True)
        print("\n".join(result.transcript), result.foul or "no foul", sep="\n")
        return bool(result.foul)
    tally, began = Tally(), time.process_time()
    failed = simulate(options.hours, options.seed, tally)
    spent = time.process_time() - began
    print(f"{tally}\n{spent:.1f} CPU seconds: {tally.total_hours / spent:.2f} simulated hours a CPU second")
    if failed is None:
        return 0
    print(explain(failed[0], failed[1]))
    return 1


if __name__ == "__main__":
    sys.exit(main())
