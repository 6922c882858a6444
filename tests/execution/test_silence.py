from __future__ import annotations

from pathlib import Path

from engine_plans import LR_RANGE, Heard, make_plan

from brainage_ray.execution.journal import TRIES
from brainage_ray.execution.session import StudySession
from brainage_ray.execution.silence import PATIENCE, Silence
from brainage_ray.execution.study import Study


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_last_epoch():
    clock = Clock()
    silence = Silence(60, clock)
    silence.begin("a")
    clock.now += 50
    silence.hear("a")
    silence.begin("b")
    clock.now += 60
    assert silence.too_long() == {}
    clock.now += 1
    assert silence.too_long() == {"b": 61}
    silence.end("b")
    assert silence.too_long() == {}


def test_a_trial_with_slow_epochs_may_be_silent_for_longer():
    clock = Clock()
    silence = Silence(60, clock)
    silence.begin("a")
    for seconds in (50, 20):
        clock.now += seconds
        silence.hear("a")
    clock.now += PATIENCE * 50
    assert silence.too_long() == {}
    clock.now += 1
    assert silence.too_long() == {"a": PATIENCE * 50 + 1}


def test_who_is_not_listened_to_is_never_silent_for_too_long():
    clock = Clock()
    silence = Silence(60, clock)
    silence.hear("a")
    clock.now += 1000
    assert silence.too_long() == {}


def test_a_trial_that_always_hangs_says_so_and_is_given_up(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, epochs=2, trials=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        for number in range(TRIES):
            name = str(number)
            assert session.begin(name) is not None
            session.hear(name, {"epoch": 1, "seed_values": [5.0], "metrics": {}, "seconds": 2.0})
            session.lose(name, "it reported no epoch for 120 minutes and was ended")
            session.end(name)
        assert session.finished
        (result,) = study.result().trials
    assert (result.state, result.reason) == ("failed", "it reported no epoch for 120 minutes and was ended")
    assert (result.values, result.seconds) == ((5.0,), 2.0)
    assert heard.states == ["failed"]


def test_a_trial_that_comes_further_with_each_loss_is_not_given_up(tmp_path: Path):
    plan = make_plan(tmp_path, LR_RANGE, epochs=9, trials=1)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        for reached in (1, 2, 3, 4, 4, 4):
            assert session.begin(str(len(study._study.trials))) is not None
            (name,) = session._flying
            for epoch in range(1, reached + 1):
                session.hear(name, {"epoch": epoch, "seed_values": [5.0], "metrics": {}})
            session.end(name)
        assert session.finished
