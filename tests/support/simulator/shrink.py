"""Cuts a failing episode down to what it needs to fail: delta debugging (Zeller, Hildebrandt 2002) over its events."""

from collections.abc import Callable

from simulator.episode import Episode, Event
from simulator.play import play


def shrink(episode: Episode, fails: Callable[[Episode], bool] | None = None) -> Episode:
    """The smallest episode found that still fails; no single event of it can be left out."""
    fails = fails or (lambda candidate: bool(play(candidate).foul))
    foul_at = play(episode).at
    ended = [event for event in episode.events if event.at <= foul_at]
    if not ended or ended[-1] is not episode.events[-1]:
        ended.append(Event(max(foul_at, 0.0) + 1, "end"))
    shorter = episode.with_events(ended)
    return _without(shorter if fails(shorter) else episode, fails)


def _without(episode: Episode, fails: Callable[[Episode], bool]) -> Episode:
    *events, end = episode.events
    parts = 2
    while events:
        size = max(1, -(-len(events) // parts))
        for start in range(0, len(events), size):
            rest = events[:start] + events[start + size :]
            if fails(episode.with_events([*rest, end])):
                events, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(events), 2 * parts)
    return episode.with_events([*events, end])
