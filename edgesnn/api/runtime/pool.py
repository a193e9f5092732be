"""Runners of one bundle that are open: one a call at a time, never more than a number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edgesnn.bundle.bundle import Bundle
from edgesnn.closing import Closing
from edgesnn.errors import UsageError
from edgesnn.runners.base import Runner, RunnerOptions


class RunnerPool(Closing):
    """Opens a runner when one is wanted and none is free; whoever comes when all are taken waits.

    A runner is one context and belongs to one thread at a time: threads that shared one would give each
    other's answers.

    Args:
        kind: The runner.
        bundle: What it opens.
        options: How.
        limit: At most so many.

    Raises:
        UsageError: The limit is no positive number.
    """

    def __init__(self, kind: type[Runner], bundle: Bundle, options: RunnerOptions, limit: int) -> None:
        if limit < 1:
            raise UsageError("number of runners out of range", actual=limit, limit=">= 1")
        self._kind, self._bundle, self._options, self.limit = kind, bundle, options, limit
        self._free: list[Runner] = []
        self._open = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def lease(self) -> Iterator[Runner]:
        """A runner for one call; one that failed is closed and not given out again.

        Raises:
            UsageError: The pool is closed.
            RunnerError: A runner cannot be opened.
        """
        runner = self._take()
        try:
            yield runner
        except GeneratorExit:
            self._give(runner)
            raise
        except BaseException:
            self._drop(runner)
            raise
        else:
            self._give(runner)

    def _take(self) -> Runner:
        with self._changed:
            while not self._free and self._open >= self.limit and not self._closed:
                self._changed.wait()
            if self._closed:
                raise UsageError("the student was closed", remedy="open it again")
            if self._free:
                return self._free.pop()
            self._open += 1
        runner = self._kind()
        try:
            runner.open(self._bundle, self._options)
        except BaseException:
            self._forget()
            raise
        return runner

    def _give(self, runner: Runner) -> None:
        with self._changed:
            if not self._closed:
                self._free.append(runner)
                self._changed.notify()
                return
        self._drop(runner)

    def _drop(self, runner: Runner) -> None:
        try:
            runner.close()
        finally:
            self._forget()

    def _forget(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def close(self) -> None:
        """Close every free runner; those in use are closed when they come back. Safe to call twice."""
        with self._changed:
            self._closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for runner in free:
            self._drop(runner)
