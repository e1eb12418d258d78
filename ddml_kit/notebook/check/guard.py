"""What is around an answer while it runs: a limit of time, and functions that it may not call."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, TypeVar

T = TypeVar("T")
KIT = "ddml_kit"
LIBRARY = (  # where all answers are
    "ddml_kit.training",
    "ddml_kit.collectives",
    "ddml_kit.aggregation",
    "ddml_kit.attacks",
)

AGAIN = 0.25  # seconds until the alarm rings again, for answers that catch everything in a loop


class Refused(BaseException):
    """The answer calls a function that it should have written. Not an Exception: none hides it."""


class TimeUp(BaseException):
    """The answer has run for too long. Not an Exception, for the same reason."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What call() returns; raises TimeUp inside it if it takes longer than that.

    By the alarm of the process, which another thread than the main one hasn't, nor has Windows:
    there is no limit then. An alarm that somebody else has set is set again afterwards, for what
    is left of its time, and cuts the limit short if it would come first. It rings again only after
    it has been heard: one that repeats by itself could ring while it rings, deeper and deeper.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        return call()
    former = signal.getsignal(signal.SIGALRM)
    if former is None:
        return call()  # set by something that isn't Python, and couldn't be set again
    armed, rang = True, False

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rang
        if armed:
            rang = True
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            raise TimeUp

    start = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, left or seconds))
    try:
        try:
            result = call()
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        if left:
            still = left - (time.monotonic() - start)
            signal.setitimer(signal.ITIMER_REAL, max(still, 1e-3), interval)
    if rang:
        raise TimeUp  # it was swallowed
    return result


@dataclass(frozen=True)
class Rule:
    """Which calls are refused: `reserved` functions, with the sentence why, and all the library's.

    offered: the library's functions that may be called all the same, and call what they like.
    """

    reserved: Mapping[Callable[..., Any], str]
    offered: Sequence[Callable[..., Any]] = ()

    def watch(self, call: Callable[[], T]) -> T:
        """What call() returns; raises Refused inside it as soon as it breaks the rule.

        Raises it afterwards, too, if the answer has swallowed it. The ranks of a simulation run as
        greenlets of this thread and are profiled with it. So the profile function belongs around
        the whole run: set inside a rank, it would be taken off by the one that ends first, while
        the others are still at work. Threads that the answer starts are only listened to: what
        is raised there, nobody would catch.
        """
        reserved = {_code(function): text for function, text in self.reserved.items()}
        offered = {_code(function) for function in self.offered}
        here, broken = threading.get_ident(), list[str]()

        def profile(frame: FrameType, event: str, argument: Any) -> None:
            if event != "call":
                return
            why = reserved.get(frame.f_code) or _why_library(frame)
            if why and not _on_behalf(frame, offered):
                broken.append(why)
                if threading.get_ident() == here:
                    raise Refused

        before, in_threads = sys.getprofile(), threading.getprofile()
        threading.setprofile(profile)
        sys.setprofile(profile)
        try:
            result = call()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not broken:
                raise
            raise Refused(broken[0]) from error
        finally:
            _set_profile(before)
            threading.setprofile(in_threads)
        if broken:
            raise Refused(broken[0])
        return result


def _code(function: Callable[..., Any]) -> CodeType | None:
    return getattr(function, "__code__", None)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _why_library(frame: FrameType) -> str:
    """That a frame is the library's, in words; nothing if it isn't."""
    module = _module(frame)
    if not any(module == room or module.startswith(f"{room}.") for room in LIBRARY):
        return ""
    return f"it calls {module}.{frame.f_code.co_qualname}, which is the library's own"


def _on_behalf(frame: FrameType | None, offered: set[CodeType | None]) -> bool:
    """Whether a frame belongs to an offered function: on the way to it all frames are the kit's."""
    while frame is not None:
        if frame.f_code in offered:
            return True
        if _module(frame).partition(".")[0] != KIT:
            return False
        frame = frame.f_back
    return False


def _set_profile(profiler: Any) -> None:
    """Have it profile again: a profile function, None, or a cProfile.Profile, which is neither."""
    if profiler is None or callable(profiler):
        sys.setprofile(profiler)
    else:
        sys.setprofile(None)
        profiler.enable()
