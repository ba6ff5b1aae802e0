"""One label, as evidence for and against one generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.models.adwin import JsonADWIN
from riskwatch.models.base import Authority
from riskwatch.models.capital import Capital, gains
from riskwatch.models.evidence import clipped
from riskwatch.models.rungs import RULES
from riskwatch.models.verdicts import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.models.judge import TargetAuthority
    from riskwatch.models.rungs import Rung
    from riskwatch.models.standing import Standing

DRIFT_NATS: Final = 2.0
"""The test for drift sees losses beyond the rules' within this much."""


class Case:
    """Weighs one label for and against one generation.

    Parameters
    ----------
    here : TargetAuthority
        The target that it is a label of.
    rung : Rung
        The generation.
    standing : Standing
        Its record.
    """

    def __init__(self, here: TargetAuthority, rung: Rung, standing: Standing) -> None:
        self.here = here
        self.rung = rung
        self.standing = standing
        self.authority = here.of(rung)

    def rise(self, said: Mapping[str, float], taken: int, *, label: bool) -> bool:
        """Weigh the label for more authority; return whether it was given."""
        s, cells = self.standing, self.here.cells
        if self.authority.rank >= self.rung.ceiling.rank:
            return False
        if s.up is None:
            s.up = Capital.fresh(cells.processes)
        if 0 <= s.held < taken and self._settled():
            return True
        rival = self._rival(said)
        s.up.bet(
            cells.at(taken),
            *gains(clipped(said[self.rung.name]), clipped(said[rival]), label=label),
        )
        if s.held < 0 and self._seen_enough() and s.up.e_value >= self.here.judge.needed(s):
            s.held = self.here.us
        return False

    def fall(self, said: Mapping[str, float], taken: int, *, label: bool) -> None:
        """Weigh the label for less authority."""
        if self.authority is Authority.SHADOW:
            return
        s, cells = self.standing, self.here.cells
        if s.down is None:
            s.down = Capital.fresh(cells.processes)
        at = cells.at(taken)
        gain, worst = gains(clipped(said[RULES]), clipped(said[self.rung.name]), label=label)
        if not gain and not worst:
            return  # it said what the rules said
        s.down.bet(at, gain, worst)
        e = s.down.e_value
        if e * self.here.judge.config.alpha_down >= 1.0:
            self._demote("reverse", f"it is worse than the rules (evidence {e:.3g})", e)
        elif at[0] == 0 and self._drifts(gain):
            self._demote("drift", "its loss beyond the rules' has drifted up", gain)

    def _settled(self) -> bool:
        """Decide a test whose labels are all known now; return whether it was passed."""
        s = self.standing
        needed = self.here.judge.needed(s)
        e = 0.0 if s.up is None else s.up.e_value
        if e < needed:
            s.tests, s.held = s.tests + 1, -1
            return False
        to = self.authority.step(1)
        detail = f"better than what it challenged: evidence {e:.4g}, {needed:.4g} was needed"
        self.here.decide(self.rung, to, Reason("evidence", detail, {"needed": needed}))
        return True

    def _rival(self, said: Mapping[str, float]) -> str:
        """Name the generation that it challenges: the highest above it, or else the rules."""
        best, rival = self.authority.rank, RULES
        for rung, record in self.here.generations:
            if rung.name in (RULES, self.rung.name) or rung.name not in said:
                continue
            rank = self.here.of(rung, record).rank
            if rank > best:
                best, rival = rank, rung.name
        return rival

    def _seen_enough(self) -> bool:
        """Whether there were enough independent events for the next step."""
        s, config = self.standing, self.here.judge.config
        wanted = (config.events_advisory, config.events_bounded, config.events_full)
        rank = self.authority.rank
        spread = config.entities_bounded if rank >= 1 else 1
        return s.events >= wanted[rank] and s.entities >= spread

    def _drifts(self, beyond: float) -> bool:
        """Whether the loss beyond the rules' is higher lately than it was before."""
        detector = JsonADWIN(self.here.judge.config.drift_delta)
        if self.standing.drift:
            detector.restore(self.standing.drift)
        bounded = min(max(beyond, -DRIFT_NATS), DRIFT_NATS)
        detector.update(0.5 + bounded / (2.0 * DRIFT_NATS))
        self.standing.drift = detector.state()
        # Less good than it was, but still better than the rules, is no reason to demote.
        return detector.rose and detector.estimation > 0.5

    def _demote(self, reason: str, detail: str, number: float) -> None:
        to = self.authority.step(-1)
        more = {"e_down": number} if reason == "reverse" else {"beyond_nats": number}
        self.here.decide(self.rung, to, Reason(reason, detail, more))
