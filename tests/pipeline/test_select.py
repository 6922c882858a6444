from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainage_ray.errors import TrialFailed
from brainage_ray.execution import StudyResult, TrialResult
from brainage_ray.pipeline.select import Selected, select, winner


def trial(number, best, state="complete", epoch=3, reason=""):
    return TrialResult(number, {"training.batch_size": number}, state, best_value=best, best_epoch=epoch, reason=reason)


def study(*trials):
    return StudyResult(trials, len(trials))


def test_the_lowest_complete_trial_is_taken_and_of_equals_the_first():
    found = select("unet", study(trial(0, 5.0), trial(1, 4.0, epoch=7), trial(2, 4.0)))
    assert found == Selected(1, {"training.batch_size": 1}, 7, 4.0)


def test_a_trial_that_was_stopped_early_cannot_be_chosen():
    assert select("unet", study(trial(0, 3.0, "pruned"), trial(1, 4.0))).trial == 1


def test_without_a_complete_trial_the_reason_is_given():
    with pytest.raises(TrialFailed, match=r"arm unet .* the loss is nan"):
        select("unet", study(trial(0, None, "failed", reason="the loss is nan")))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.randoms())
def test_the_order_of_the_trials_does_not_matter(values, random):
    trials = [trial(i, value) for i, value in enumerate(values)]
    shuffled = random.sample(trials, len(trials))
    assert select("unet", study(*shuffled)) == select("unet", study(*trials))
    assert select("unet", study(*trials)).validation_mae == min(values)


def test_the_winner_has_the_lowest_validation_mae():
    chosen = {"b": Selected(0, {}, 1, 4.0), "a": Selected(0, {}, 1, 4.0), "c": Selected(0, {}, 1, 5.0)}
    assert winner(chosen) == "a"
