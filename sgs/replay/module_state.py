"""What calls of the encoder leave on its modules, in both passes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from sgs.replay.interaction import Repeatable
from sgs.replay.kept import Kept
from sgs.replay.snapshot import Snapshot
from sgs.replay.used_graph import graphs_in, refuse_backward

# What was changed: a container or tensor, and a key of it.
Change = tuple[Kept, Any]


class ModuleState:
    """The state of the encoder's modules at the time of a call, and what its micro-batches change.

    NOTE [ State of modules ]
    A direct call changes state once. So what the first micro-batch changed is put back before each
    later one, and what the last one leaves stays. This equals the direct call if all change the
    same. Where something differs, or a list grows, a micro-batch is encoded again without putting
    that back. If its features are the same, it stands as in a loop of calls. Otherwise it is
    refused: the next call would read what follows a part of the items. In the second pass every
    micro-batch starts from the state of the call, so that a cached weight is computed again, with
    its graph. At the end the state before it is back.

    Args:
        modules: The modules by name, before the call.
        running: Running statistics of BatchNorm layers in training mode. They follow all
            micro-batches of the first pass.

    Attributes:
        called: The state at the time of the call.
        changed: What calls have changed, by its id.
        num_calls: The calls of the present pass.
    """

    def __init__(self, modules: Mapping[str, nn.Module], running: Collection[Tensor]) -> None:
        self._modules = modules
        self.called = Snapshot(modules)
        self._running = [self.called[id(x)] for x in running]
        self.changed: dict[int, Kept] = {}
        self.num_calls = 0
        # Whether nothing is put back; else the keys that are not, by the id of what holds them.
        self._stands, self._standing = False, dict[int, set[Any]]()
        # What the first micro-batch has left, while all others leave the same.
        self._left: list[tuple[Kept, Any]] = []

    def _note_changes(self) -> None:
        running = {id(kept.held) for kept in self._running}
        found = [x for x in self.called.changes(by_value=True) if id(x.held) not in running]
        self._add(found)
        modules = [(kept, kept.content) for kept in found if kept.own == "_modules"]
        if names := _names(_differences(modules)):
            raise RuntimeError(
                f"the encoder added, replaced or removed its modules {names[:3]} in its forward "
                "pass. Build them before; if its first call does so, call it on one item before."
            )

    def _add(self, found: Iterable[Kept]) -> None:
        self.changed |= {id(kept.held): kept for kept in found}

    def changed_names(self) -> set[str]:
        """Return the names of the attributes, buffers and containers that calls have changed."""
        found = _differences((kept, kept.content) for kept in self.changed.values())
        return {kept.label(key) if kept.own else kept.name for kept, key in found}

    def rewind(self) -> None:
        """Put back what calls have changed, before the next call."""
        if not self._stands:
            for key, kept in self.changed.items():
                kept.write(kept.content, standing=self._standing.get(key, ()))

    @contextmanager
    def as_called(self) -> Iterator[None]:
        """Call the encoder inside from the state of the call, without a trace."""
        present = Snapshot(self._modules)
        _restore(self.called.changes(by_value=True))
        try:
            yield
        finally:
            _restore(present.changes(by_value=True))

    def as_called_first(self, run: Repeatable) -> Repeatable:
        """Return a micro-batch that is encoded again from the state of the call."""

        def again(items: Tensor, is_constant: bool) -> Any:
            with self.as_called():
                return run.again(items, is_constant)

        return replace(run, again=again)

    def refuse_interaction(self, run: Repeatable, through: Collection[str] = ()) -> None:
        """Refuse an encoder whose items interact; its state is then that of the call."""
        if error := self.as_called_first(run).interaction(through):
            _restore(self.changed.values())
            raise error

    def after_first(self, run: Repeatable | None) -> bool:
        """Note what a micro-batch of the first pass changed; tell if another one may differ."""
        self.num_calls += 1
        if self.num_calls == 1:
            self._note_changes()
            self._left = [(kept, kept.present()) for kept in self.changed.values()]
            return any(kept.is_opaque() for kept in self.changed.values())
        differing = _differences(self._left)
        if differing or any(kept.has_grown() for kept, _ in self._left):
            statistics = [(kept, kept.present()) for kept in self._running]
            self._decide(differing, run)
            _put(statistics)
        return bool(differing)

    def _decide(self, differing: list[Change], run: Repeatable | None) -> None:
        """Let stand what features do not depend on; else put it back or refuse it."""
        left, self._left = self._left, []
        present = [(kept, kept.present()) for kept, _ in left]
        unsettled = [(kept, key) for kept, key in differing if kept.was_set(key)]
        if run is None:
            # A tensor may go on from call to call. If features depend on it, `check_replay` tells.
            self._stands = any(isinstance(kept.value(key), Tensor) for kept, key in unsettled)
            unsettled = [(kept, key) for kept, key in unsettled if kept.own == "_buffers"]
        else:
            if differing and run.checks_items:
                self.refuse_interaction(run, through=_names(differing))
            _put(left)
            if run.agrees():
                self._stands = True
                return
            # The rest may be what features depend on, e.g. an iteration of weights. What was set
            # once would be set again, which only the items tell.
            again = {(id(kept.held), key) for kept, key in _differences(left)}
            is_set_once = any((id(kept.held), key) not in again for kept, key in differing)
            _put(left)
            for kept, key in differing:
                self._standing.setdefault(id(kept.held), set()).add(key)
            self.rewind()
            if (run.can_tell() or not is_set_once) and run.agrees():
                return
            self._standing = {}
            _put(present)
        if unsettled:
            _restore(self.changed.values())
            raise RuntimeError(
                f"the encoder's {_names(unsettled)[:3]} change differently in each micro-batch,"
                " and its features depend on them, so items interact through them, and the result "
                "differs from that of one call. Put the modules that own them into eval mode."
            )

    def end_first_pass(self) -> None:
        """Note what the whole pass has left."""
        self._note_changes()
        self._left = []

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Let each micro-batch start from the state of the call, and leave no trace."""
        self._add(self.called.changes())
        # Not all changes have a version: those of running statistics and through `.data` have none.
        is_old = not (self.changed or self._running)
        present = self.called if is_old else Snapshot(self._modules)
        self._stands, self._standing, self.num_calls = False, {}, 0
        try:
            yield
        finally:
            cached = [entry for kept in self.changed.values() for entry in graphs_in(kept)]
            known = {*self.changed, *(id(kept.held) for kept in self._running)} & present.keys()
            _restore((*present.changes(), *(present[key] for key in known)))
            for entry in cached:
                refuse_backward(*entry)

    def before_replay(self) -> None:
        """Prepare a micro-batch of the second pass."""
        self.num_calls += 1
        if self.num_calls == 2:
            # What the first call changed with gradients only.
            self._add(self.called.changes())
        self.rewind()


def _differences(contents: Iterable[tuple[Kept, Any]]) -> list[Change]:
    return [(kept, key) for kept, content in contents for key in kept.differing(content)]


def _put(contents: Iterable[tuple[Kept, Any]]) -> None:
    for kept, content in contents:
        kept.write(content)


def _names(changes: Iterable[Change]) -> list[str]:
    return sorted(kept.label(key) for kept, key in changes)


def _restore(found: Iterable[Kept]) -> None:
    _put((kept, kept.content) for kept in found)
