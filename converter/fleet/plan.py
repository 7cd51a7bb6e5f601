"""How a rollout goes on by itself: in which stages, how long each soaks, what halts it; and what to do now.

Pure, and without memory: `next_move` is asked of the signed document and what devices report, so a program that was
killed at any point goes on when it is started again. Doing what it says is left to `drive`.

The statistics: `failed`, `rejected`, `rolled_back` and `held` are shares of the devices in the rollout that are online
or have an outcome, `offline` of all devices in it. A stage is passed only when its time is over, no device that is
online is still at it, and at least one has committed or failed; one to which no known device belongs is passed at once.
"""

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from converter.fleet.census import Census, Member, Progress
from edge_agent.errors import ConfigError
from edge_agent.release.rollout import EVERYBODY

WORDS = ("failed", "rejected", "rolled_back", "held", "offline")
_RULE = re.compile(r"\s*([a-z_]+)\s*(>=|>)\s*(\d+(?:\.\d+)?)\s*(%?)\s*")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_LONGEST = timedelta(days=365)
_NAMED = 5  # devices that a sentence names


@dataclass(frozen=True, slots=True)
class Share:
    """The devices of which a word is true, among those that are asked."""

    word: str
    hit: tuple[Member, ...]
    among: tuple[Member, ...]

    @property
    def percent(self) -> float:
        """Of no devices: 0."""
        return 100 * len(self.hit) / max(1, len(self.among))

    def __str__(self) -> str:
        return f"{len(self.hit)} of {len(self.among)} devices ({self.percent:.1f} %) {self.word.replace('_', ' ')}"


def share_of(census: Census, word: str) -> Share:
    """`word` is one of `WORDS`."""
    match word:
        case "failed":
            return Share(word, tuple(each for each in census.reachable if each.failed), census.reachable)
        case "offline":
            return Share(word, tuple(each for each in census.members if not each.online), census.members)
        case _:
            wanted = Progress[word.upper()]
            return Share(word, tuple(each for each in census.reachable if each.progress is wanted), census.reachable)


@dataclass(frozen=True, slots=True)
class Rule:
    """What halts a rollout: more than so many devices, or than such a share of them."""

    word: str
    comparison: str  # > or >=
    limit: float
    is_share: bool  # percent; else a number of devices

    def verdict(self, census: Census) -> str | None:
        """Why it halts, in a sentence; None: it does not. Of no device nothing is said."""
        share = share_of(census, self.word)
        if not share.among:
            return None
        found = share.percent if self.is_share else len(share.hit)
        if not (found >= self.limit if self.comparison == ">=" else found > self.limit):
            return None
        return f"{self}: {share}" + (f": {names(share.hit)}" if share.hit else "")

    def __str__(self) -> str:
        return f"{self.word}{self.comparison}{self.limit:g}{'%' if self.is_share else ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    stages: tuple[int, ...]  # percent, rising
    soak: timedelta  # of each stage, from when its percentage was signed
    halt_on: tuple[Rule, ...] = ()


def parse_stages(text: str) -> tuple[int, ...]:
    """`1,10,50,100`.

    Raises:
        ConfigError: not rising whole percents.
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    rising = all(before < after for before, after in itertools.pairwise(numbers))
    if len(numbers) != len(parts) or not rising or not all(1 <= number <= EVERYBODY for number in numbers):
        raise ConfigError(
            f"--stages {text!r}: expected whole percents from 1 to {EVERYBODY}, each larger than the one before",
            hint="for example --stages 1,10,50,100",
        )
    return numbers


def parse_duration(text: str, option: str = "--soak") -> timedelta:
    """`90s`, `30m`, `1h`, `2d`, `1h30m`; `option` is where it was said.

    Raises:
        ConfigError: it is none.
    """
    found = _DURATION.fullmatch(text.strip().replace(" ", ""))
    if found is None or not any(found.groups()):
        raise ConfigError(
            f"{option} {text!r}: expected a time as 90s, 30m, 1h, 2d or 1h30m", hint=f"for example {option} 1h"
        )
    days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    total_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s > _LONGEST.total_seconds():
        raise ConfigError(f"{option} {text!r} is longer than {_LONGEST.days} days", hint=f"for example {option} 1h")
    return timedelta(seconds=total_s)


def parse_rule(text: str) -> Rule:
    """`failed>2%`, `held>=3`.

    Raises:
        ConfigError: it is none.
    """
    found = _RULE.fullmatch(text)
    if found is None or found[1] not in WORDS or (found[4] and float(found[3]) > 100):
        raise ConfigError(
            f"--halt-on {text!r}: expected WORD>NUMBER or WORD>=NUMBER, a number of devices or, with %, a share of "
            f"them; WORD is one of {', '.join(WORDS)}",
            hint="for example --halt-on 'failed>2%' or --halt-on 'rolled_back>=1'; it may be given several times",
        )
    return Rule(found[1], found[2], float(found[3]), is_share=bool(found[4]))


# --- what to do now --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Move:
    """What to do, and why, in a sentence."""

    kind: Literal["wait", "widen", "halt", "finished", "paused", "halted"]
    why: str
    percent: int = 0  # to which it is widened
    wait_s: float | None = None  # at most until there is more to do; None: until devices say something


def next_move(census: Census, plan: Plan, now: datetime) -> Move:
    """The next step of a rollout. Total: there is one for each document and whatever devices report."""
    rollout = census.target.rollout
    if rollout.state == "halted":
        return Move("halted", sum_of(census))
    verdict = next((why for rule in plan.halt_on if (why := rule.verdict(census)) is not None), None)
    if verdict is not None:
        return Move("halt", verdict)
    if rollout.state == "paused":
        return Move("paused", sum_of(census))
    following = next((stage for stage in plan.stages if stage > rollout.percent), None)
    why_not, wait_s = _awaited(census, plan, now)
    if why_not is not None:
        return Move("wait", f"{sum_of(census)}; {why_not}", wait_s=wait_s)
    why = sum_of(census) if census.members else f"no known device is in it at {rollout.percent} %"
    return Move("finished", why) if following is None else Move("widen", why, percent=following)


def _awaited(census: Census, plan: Plan, now: datetime) -> tuple[str | None, float | None]:
    """Why the stage is not over, and for how long at least; None: it is."""
    if not census.members:
        return None, None
    over = _began(census, now) + plan.soak
    if over > now:
        return f"it soaks until {over:%Y-%m-%d %H:%M:%S} UTC", (over - now).total_seconds()
    if census.unfinished:
        return f"waiting for {names(census.unfinished)}", None
    if not any(member.ended for member in census.members):
        return "no device has tried it yet, so there is nothing to judge by", None
    return None, None


def names(members: tuple[Member, ...]) -> str:
    """The first few, with what they say."""
    words = [f"{each.device} ({each.detail})" if each.detail else each.device for each in members[:_NAMED]]
    more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
    return ", ".join(words) + more


def _began(census: Census, now: datetime) -> datetime:
    """When the last who must had signed this percentage. Of a document of before that was told: when it was made."""
    target = census.target
    since = target.rollout.since or target.created
    try:
        began = datetime.fromisoformat(since)
    except ValueError:
        return now  # signed by something else than us: the stage is never over, and a person has to widen it
    began = began.astimezone(UTC) if began.tzinfo else began.replace(tzinfo=UTC)
    if census.completed is not None and since == target.created:  # it is this document that gave the percentage
        return max(began, census.completed)
    return began


def sum_of(census: Census) -> str:
    counts = [
        f"{number} {progress.word}"
        for progress in reversed(Progress)
        if (number := sum(member.progress is progress for member in census.members))
    ]
    offline = sum(not member.online for member in census.members)
    return f"{len(census.members)} devices: " + ", ".join([*counts, *([f"{offline} offline"] if offline else [])])
