from __future__ import annotations

from dataclasses import replace

from brainage_ray.pipeline.progress import EpochProgress, Fanout, Silent
from brainage_ray.training import RunInfo


class Bar(Silent):
    def __init__(self):
        self.done, self.skipped, self.spared, self.notes = 0, 0, 0, []

    def advance(self, count=1, note=""):
        self.done += count
        self.notes.append(note)

    def skip(self, count=1, note=""):
        self.skipped += count

    def spare(self, count):
        self.spared += count


def info(key):
    return RunInfo(key, f"trial {key}", "trial", "unet/study")


def test_the_bar_counts_each_epoch_that_was_trained_once_and_takes_off_the_others():
    bar = Bar()
    recorder = EpochProgress(bar, {"a": 5}, default_epochs=3)
    recorder.started(info("a"))
    for epoch in (1, 2, 2, 1, 3):  # a resumed run tells its first epochs again
        recorder.epoch("a", epoch, {"validation_mae": 10.0 - epoch})
    assert bar.done == 3
    recorder.finished("a", "pruned", {})
    assert (bar.done, bar.spared) == (3, 2)
    recorder.epoch("b", 1, {"validation_mae": 8.0})
    recorder.finished("b", "complete", {})
    assert (bar.done, bar.spared) == (4, 4)


def test_epochs_of_an_earlier_start_say_nothing_of_the_pace():
    bar = Bar()
    recorder = EpochProgress(bar, {"a": 5})
    recorder.started(replace(info("a"), trained=2))
    for epoch in (1, 2, 3, 4):
        recorder.epoch("a", epoch, {"validation_mae": 10.0 - epoch})
    assert (bar.skipped, bar.done) == (2, 2)


def test_the_note_says_what_is_best_so_far():
    bar = Bar()
    recorder = EpochProgress(bar, {}, 3)
    recorder.started(info("a"))
    recorder.started(info("b"))
    recorder.epoch("a", 1, {"validation_mae": 5.0})
    recorder.epoch("b", 1, {"validation_mae": 6.0})
    assert bar.notes == ["lowest so far 5.00 years (trial a)"] * 2
    recorder.finished("a", "pruned", {"best_validation_mae": 5.0})
    recorder.finished("b", "complete", {"best_validation_mae": 5.5})
    assert bar.notes[-1] == "best 5.50 years (trial b)"  # a was stopped early: it does not stand for election


def test_segmentation_and_refits_have_notes_of_their_own():
    bar = Bar()
    recorder = EpochProgress(bar, {}, 3)
    recorder.epoch("a", 1, {"train_loss": 0.5, "validation_dice_mean": 0.25})
    recorder.epoch("b", 1, {"train_loss": 0.5})
    assert bar.notes == ["Dice 0.250 (a)", "loss 0.5000 (b)"]


def test_fanout_tells_everyone():
    bars = [Bar(), Bar()]
    fanout = Fanout([EpochProgress(bar, {}, 2) for bar in bars])
    fanout.started(info("a"))
    fanout.epoch("a", 1, {"train_loss": 1.0})
    fanout.finished("a", "complete", {})
    assert [(bar.done, bar.spared) for bar in bars] == [(1, 1), (1, 1)]
