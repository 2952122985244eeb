"""All trackers of the node: an edit restarts what it changes and nothing else."""

from collections.abc import Callable

from virtualip_agent.control.trackers.base import Check, Origin, Report, RunningTracker
from virtualip_agent.control.trackers.board import START_AGAIN, TrackerBoard
from virtualip_agent.ipc import Contribution
from virtualip_api.trackers import FileTracker, ProcessTracker, Tracker, TrackerKind


class Running:
    """A tracker of which the test is the world."""

    def __init__(self, check: TrackerKind, report: Report) -> None:
        self.check = check
        self.report = report
        self.closed = False

    def close(self) -> None:
        self.closed = True


class World:
    """Everything that was started, and who was told of a change."""

    def __init__(self, first: Check | None = None, decided: tuple[str, ...] = ()) -> None:
        self.started: list[Running] = []
        self.resumed: list[bool] = []
        """Of each that was started."""
        self.changed: list[str] = []
        self._first = first
        self.later: list[Callable[[], None]] = []
        """What is to be done in START_AGAIN."""
        self.refused = ""
        """Why nothing can be started."""
        self.board = TrackerBoard(self._start, self.changed.append, self._later, decided)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        assert seconds == START_AGAIN
        self.later.append(action)

    def _start(self, check: TrackerKind, report: Report, origin: Origin) -> RunningTracker:
        if self.refused:
            raise OSError(self.refused)
        running = Running(check, report)
        self.resumed.append(origin.resumed)
        self.started.append(running)
        if self._first is not None:
            report(self._first)
        return running

    @property
    def alive(self) -> list[TrackerKind]:
        return [running.check for running in self.started if not running.closed]


def tracker(name: str = "apache", process: str = "httpd", weight: int = 10) -> Tracker:
    return Tracker(name, ProcessTracker(process), weight=weight)


def test_a_tracker_without_a_result_contributes_nothing_not_even_0() -> None:
    world = World()
    world.board.run({"web": (tracker(),)})
    assert world.board.contributions("web") == {}
    assert world.board.statuses("web") == ()


def test_a_result_is_weighed_and_told_of() -> None:
    world = World()
    world.board.run({"web": (tracker(),)})
    world.started[0].report(Check(True, "running"))
    assert world.changed == ["web"]
    assert world.board.contributions("web") == {"apache": Contribution(10)}
    status = world.board.statuses("web")[0]
    assert (status.name, status.healthy, status.contribution, status.message) == ("apache", True, 10, "running")
    assert status.last_transition_time.endswith("Z")


def test_a_result_given_within_the_start_is_there_for_who_started_it() -> None:
    world = World(first=Check(True))
    world.board.run({"web": (tracker(),)})
    assert world.changed == []
    assert world.board.contributions("web") == {"apache": Contribution(10)}


def test_the_same_result_again_is_no_change() -> None:
    world = World()
    world.board.run({"web": (tracker(),)})
    for _ in range(3):
        world.started[0].report(Check(True))
    assert world.changed == ["web"]


def test_the_time_is_that_of_the_last_change_of_health_not_of_the_message() -> None:
    world = World()
    world.board.run({"web": (tracker(),)})
    world.started[0].report(Check(False, "0 processes, 2 wanted"))
    before = world.board.statuses("web")[0]
    world.started[0].report(Check(False, "1 process, 2 wanted"))
    after = world.board.statuses("web")[0]
    assert (before.message, after.message) == ("0 processes, 2 wanted", "1 process, 2 wanted")
    assert before.last_transition_time == after.last_transition_time
    world.started[0].report(Check(True))
    assert world.board.statuses("web")[0].last_transition_time > before.last_transition_time


def test_another_weight_counts_at_once_and_the_tracker_goes_on() -> None:
    world = World(first=Check(True))
    world.board.run({"web": (tracker(weight=10),)})
    world.board.run({"web": (tracker(weight=20),)})
    assert len(world.started) == 1
    assert world.board.contributions("web") == {"apache": Contribution(20)}


def test_another_check_is_another_tracker() -> None:
    world = World(first=Check(True))
    world.board.run({"web": (tracker(process="httpd"),)})
    world.board.run({"web": (tracker(process="nginx"),)})
    assert world.alive == [ProcessTracker("nginx")]


def test_an_edited_check_counts_as_it_did_until_it_has_a_result() -> None:
    world = World()
    world.board.run({"web": (tracker(process="httpd"),)})
    world.started[0].report(Check(True, "running"))
    world.board.run({"web": (tracker(process="nginx", weight=20),)})
    assert world.board.contributions("web") == {"apache": Contribution(20)}
    world.started[1].report(Check(False))
    assert world.board.contributions("web") == {"apache": Contribution(0, healthy=False)}


def test_where_an_earlier_result_counts_the_tracker_is_told() -> None:
    world = World(decided=("web",))
    world.board.run({"web": (tracker(),), "other": (tracker(),)})
    assert world.resumed == [True, False]  # vrrp knows what web's trackers were worth to a control before this one
    world.board.run({"web": (tracker(), tracker("new", "new")), "other": (tracker(),)})
    assert world.resumed[2:] == [False]
    world.started[1].report(Check(True))
    world.board.run({"web": (), "other": (tracker(process="edited"),)})
    assert world.resumed[3:] == [True]


def test_a_tracker_that_becomes_one_of_another_kind_waits_for_its_own_result() -> None:
    world = World()
    world.board.run({"web": (tracker(),)})
    world.started[0].report(Check(True))
    world.board.run({"web": (Tracker("apache", FileTracker("/x")),)})
    assert world.board.contributions("web") == {}


def test_what_is_no_longer_declared_is_stopped_and_the_rest_untouched() -> None:
    world = World(first=Check(True))
    world.board.run({"web": (tracker("a", "a"), tracker("b", "b")), "api": (tracker("a", "a"),)})
    world.board.run({"web": (tracker("b", "b"),)})
    assert world.alive == [ProcessTracker("b")]
    assert len(world.started) == 3
    assert world.board.contributions("api") == {}


def test_after_the_end_the_last_words_stay_and_nothing_runs() -> None:
    world = World(first=Check(True))
    world.board.run({"web": (tracker(),)})
    world.board.close()
    assert world.alive == []
    assert world.board.contributions("web") == {"apache": Contribution(10)}


def test_a_tracker_that_cannot_be_started_fails_and_costs_no_other_one() -> None:
    class Broken(World):
        def _start(self, check: TrackerKind, report: Report, origin: Origin) -> RunningTracker:
            if isinstance(check, FileTracker):
                raise ValueError("of what nobody has thought")
            return super()._start(check, report, origin)

    world = Broken()
    world.board.run({"web": (tracker(),)})
    world.started[0].report(Check(True))
    broken = Tracker("broken", FileTracker("/x"), weight=1)
    world.board.run({"api": (broken,), "web": (tracker(),), "zoo": (tracker(),)})
    assert (len(world.started), len(world.alive)) == (2, 2)
    assert world.board.contributions("web")["apache"].healthy
    (status,) = world.board.statuses("api")
    assert (status.healthy, status.message) == (False, "cannot be started: of what nobody has thought")


def test_a_renamed_tracker_keeps_its_result_until_it_has_its_own() -> None:
    world = World()
    world.board.run({"web": (tracker("apache"), tracker("other", "nginx"))})
    world.started[0].report(Check(True))
    before = world.board.contributions("web")["apache"]
    world.board.run({"web": (tracker("httpd"), tracker("other", "nginx"))})
    assert world.board.contributions("web") == {"httpd": before}
    assert world.resumed[-1]
    assert len(world.alive) == 2


def test_what_could_not_be_started_is_tried_again_until_it_runs() -> None:
    """Once there was no descriptor left for a moment, and the VirtualIP was FAULT for good."""
    world = World()
    world.refused = "no descriptor left"
    trackers = (tracker("first"), tracker("second"))
    world.board.run({"web": trackers, "other": (tracker(),)})
    assert [status.message for status in world.board.statuses("web")] == ["cannot be started: no descriptor left"] * 2
    (again,) = world.later  # one for all
    again()
    assert world.changed == []
    world.refused = ""
    world.later[1]()
    assert len(world.alive) == 3
    for running in world.started:
        running.report(Check(True, "running"))
    assert world.board.contributions("web")["first"] == Contribution(10)
    assert set(world.changed) == {"web", "other"}
    world.board.run({"web": trackers})
    assert len(world.started) == 3
    assert len(world.later) == 2
