"""Ctrl-C while Ray Train works."""

from __future__ import annotations

import signal
import threading
from typing import Any

from ray.train.torch import TorchTrainer


class InterruptibleTrainer(TorchTrainer):  # type: ignore[misc]
    """A trainer that a SIGINT always ends by KeyboardInterrupt, and a second one at once.

    Ray's own handler (2.60) ends the workers and leaves by SystemExit; but where the training has just ended it lets
    the program go on as if nothing had come, and a second signal it does not heed.
    """

    _interrupted = False

    def fit(self) -> Any:
        """Train.

        Raises:
            KeyboardInterrupt: a SIGINT came.
            TrainingFailedError: see Ray.
        """
        here = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT)
        try:
            return super().fit()
        finally:
            if here:
                signal.signal(signal.SIGINT, before)  # Ray keeps its own
            if self._interrupted:
                raise KeyboardInterrupt from None

    def _register_sigint_handler(self, controller: Any) -> None:
        super()._register_sigint_handler(controller)
        abort: Any = signal.getsignal(signal.SIGINT)

        def interrupt(number: int, frame: Any) -> None:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            try:
                abort(number, frame)
            except SystemExit:
                raise KeyboardInterrupt from None

        signal.signal(signal.SIGINT, interrupt)
