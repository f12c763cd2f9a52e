"""What the hooks of all engines share."""

import functools
import logging
from typing import Any, Callable, Optional, Protocol, Set

from nccltap import marks

log = logging.getLogger("nccltap")


class Witness(Protocol):
    """Listens to what a step does. It must not fail."""

    def begin(self, step: Optional[marks.Step]) -> None:
        """A step begins. None: what it is will be described."""

    def end(self) -> None:
        """What it did can be said."""


class Marker:
    """Marks the steps of the engine in this process."""

    def __init__(self, to: marks.Marks) -> None:
        self.marks = to
        #: A run at start-up is under way. It may call what serves requests otherwise: that is part of it.
        self.starting = False
        #: Who listens to what each step does, if anyone.
        self.witness: Optional[Witness] = None
        self._placed = False
        self._said: Set[str] = set()

    def say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            log.warning("nccltap: %s", sentence)

    def cannot_hook(self, owner: str, name: str) -> None:
        self.say_once(f"{owner} has no {name} to hook; the phases of this process are inferred from sizes")

    def count(self, schedule: Callable[[Any], Any], of: Any) -> Any:
        """What `schedule` makes of a step. What goes wrong in it is not the engine's trouble."""
        try:
            return schedule(of)
        except Exception as error:  # noqa: BLE001
            self.say_once(f"a step is not what the plugin knows, so its phase is unknown: {type(error).__name__}: {error}")
            return None

    def within(self, step: Optional[marks.Step], real: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        """Calls `real` between the marks of a step. None: what the step is will be described."""
        self.marks.begin(step)
        witness = self.witness
        if witness is not None:
            witness.begin(step)
        try:
            return real(*arguments, **options)
        finally:
            if witness is not None:
                witness.end()
            self.marks.end()

    def place(self, find: Callable[[], Any]) -> None:
        """Says once where this worker stands, when its groups are there. Who cannot be asked has its place inferred."""
        if self._placed:
            return
        self._placed = True
        try:
            self.marks.place(find())
        except Exception as error:  # noqa: BLE001
            self.say_once(f"where this worker stands is inferred from its groups: {type(error).__name__}: {error}")

    def startup(self, owner: type, name: str, flags: int, place: Optional[Callable[[Any], Any]] = None) -> None:
        """Marks a function as a run at start-up. An engine need not have it. `place` finds where its owner stands."""
        function = getattr(owner, name, None)
        if function is None:
            return

        @functools.wraps(function)
        def marked(*arguments: Any, **options: Any) -> Any:
            if self.starting:
                return function(*arguments, **options)
            if place is not None:
                self.place(lambda: place(arguments[0]))
            self.starting = True
            try:
                return self.within(marks.step(flags=flags), function, *arguments, **options)
            finally:
                self.starting = False

        setattr(owner, name, marked)

    def replace(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> "Optional[Replaced]":
        """Puts what `make` makes of a function in its place. Says so when there is no such function."""
        function = getattr(owner, name, None)
        if function is None:
            self.cannot_hook(owner.__name__, name)
            return None
        replaced = Replaced(owner, name, function, functools.wraps(function)(make(function)))
        replaced.put_in()
        return replaced


class Replaced:
    """A function of the engine and what stands in its place. Whoever else replaced it since is let be."""

    def __init__(self, owner: Any, name: str, real: Callable[..., Any], ours: Callable[..., Any]) -> None:
        self._owner, self._name, self._real, self._ours = owner, name, real, ours

    def put_in(self) -> None:
        """Ours from now on."""
        if getattr(self._owner, self._name, None) is self._real:
            setattr(self._owner, self._name, self._ours)

    def take_out(self) -> None:
        """The engine's own again, which then costs what it did before."""
        if getattr(self._owner, self._name, None) is self._ours:
            setattr(self._owner, self._name, self._real)
