"""Reference data of assets and parties, and the firm's limits, as frozen configuration.

:mod:`riskwatch.config.config` reads it from ``rules/reference.toml``. For an unknown name,
:meth:`Reference.asset` and :meth:`Reference.party` return conservative defaults, and the risk stage
raises a data-quality issue that states what to add.
"""

from __future__ import annotations

from typing import Final

import msgspec

from riskwatch.core.bounds import NotNegative, Positive, Share
from riskwatch.core.enums import Mode


class Backing(msgspec.Struct, frozen=True):
    """A share of an issuer's reserves.

    Attributes
    ----------
    holder : str
        Id of the bank or issuer that holds it.
    share : float
        The share, 0..1.
    """

    holder: str
    share: Share


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One asset.

    Attributes
    ----------
    id : str
        Symbol of the asset in events.
    peg : str or None
        Asset whose value it promises: fiat money (``"USD"``, ``"EUR"``) or another asset, such as
        ``"ETH"``; ``None`` for a floating asset.
    accrues : bool
        Whether it promises a growing amount of its peg, which `peg` events state as `rate`.
    issuer : str or None
        Id of the issuer, whose failure makes the asset lose its value.
    fiat : bool
        Whether it is fiat money.
    collateral : str
        ``fiat``, ``crypto``, ``algorithmic``, ``none``.
    prior_bp : float
        Standard deviation of the weak prior at the peg, bp: the usual deviation in calm times.
    volatility : float
        Annual volatility to assume before any is measured, as a fraction.
    assumed_usd : float or None
        Value of one unit where nothing else says it, USD; 0 for a coin that is worth nothing.
    assumed_on : str
        Date of this assumption, ``YYYY-MM-DD``.
    """

    id: str
    peg: str | None = None
    accrues: bool = False
    issuer: str | None = None
    fiat: bool = False
    collateral: str = "none"
    prior_bp: Positive = 50.0
    volatility: NotNegative = 0.9
    assumed_usd: NotNegative | None = None
    assumed_on: str = ""


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A venue, custodian, bank or issuer.

    Attributes
    ----------
    id : str
        Id of the party in events.
    kind : str
        ``exchange``, ``custodian``, ``bank``, ``issuer``, ``lender``, ``broker``.
    custody : str
        How client assets are held: ``segregated``, ``omnibus``, ``title_transfer``,
        ``insured_deposit``, ``unknown``.
    lgd : float
        Loss given default, 0..1, of an unsecured claim, in USD at the petition date.
    jurisdiction : str
        ISO 3166 country or ``unknown``.
    native_token : str or None
        Its own token, whose fall is wrong-way risk.
    rating : str
        Rating on the scale of `Reference.pd_by_rating`, or ``unrated``.
    group : str or None
        Group of parties under one control, which share limits.
    backing : tuple of Backing
        For an issuer, the holders of its reserves.
    withdrawal_cap_usd_day : float or None
        Maximum amount that can be withdrawn in a day, USD.
    """

    id: str
    kind: str
    custody: str = "unknown"
    lgd: Share = 0.7
    jurisdiction: str = "unknown"
    native_token: str | None = None
    rating: str = "unrated"
    group: str | None = None
    backing: tuple[Backing, ...] = ()
    withdrawal_cap_usd_day: NotNegative | None = None


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change about one derivative of a venue.

    Attributes
    ----------
    id : str
        ``venue/instrument``, as events spell both.
    kind : str
        ``perp``, ``future`` or ``option``.
    contract_type : str
        ``linear``, ``inverse`` or ``quanto``.
    contract_size : float or None
        Size of one contract: of a linear contract and of an option in units of the base, of an
        inverse one in units of the quote, of a quanto in units of `settle` per point of price.
    settle : str
        Coin that profits are paid in; empty: the base of an inverse contract, else the quote.
    """

    id: str
    kind: str = "perp"
    contract_type: str = "linear"
    contract_size: Positive | None = None
    settle: str = ""


PRICING_KINDS: Final = ("exchange", "broker")
"""Kinds of parties whose prices count."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """All reference data.

    Attributes
    ----------
    assets, parties : dict
        Assets and parties by id.
    pd_by_rating : dict of str to float
        One-year default probability by rating, floored and monotone, with ``unrated``.
    default_asset, default_party
        Defaults for an unknown name.
    distinct : tuple of str, optional
        Names that look like others and are meant (:mod:`riskwatch.config.names`).
    instruments : dict of str to Instrument, optional
        Derivatives by ``venue/instrument``.
    """

    assets: dict[str, Asset]
    parties: dict[str, Party]
    pd_by_rating: dict[str, float]
    default_asset: Asset = Asset(id="?")
    default_party: Party = Party(id="?", kind="exchange")
    distinct: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    instruments: dict[str, Instrument] | msgspec.UnsetType = msgspec.UNSET

    def instrument(self, venue: str, name: str) -> Instrument | None:
        """Return what is listed of a derivative of a venue; ``None`` if it is not listed."""
        return self.instruments.get(f"{venue}/{name}") if self.instruments else None

    def asset(self, name: str) -> Asset:
        """Return the asset `name`, or conservative defaults under that name."""
        found = self.assets.get(name)
        return found or msgspec.structs.replace(self.default_asset, id=name)

    def is_money(self, name: str) -> bool:
        """Whether an asset is fiat money, or promises fiat money.

        Examples
        --------
        >>> assets = [Asset(id="EUR", fiat=True), Asset(id="EURC", peg="EUR"), Asset(id="ETH")]
        >>> assets.append(Asset(id="stETH", peg="ETH"))
        >>> made = Reference(assets={a.id: a for a in assets}, parties={}, pd_by_rating={})
        >>> [made.is_money(each) for each in ("EUR", "EURC", "ETH", "stETH")]
        [True, True, False, False]
        """
        known = self.asset(name)
        return known.fiat or self.promises_fiat(known)

    def promises_fiat(self, asset: Asset) -> bool:
        """Whether the peg of an asset is fiat money."""
        return asset.peg is not None and (asset.peg == "USD" or self.asset(asset.peg).fiat)

    def party(self, name: str) -> Party:
        """Return the party `name`, or conservative defaults under that name."""
        found = self.parties.get(name)
        return found or msgspec.structs.replace(self.default_party, id=name)

    def is_listed_venue(self, name: str) -> bool:
        """Whether the reference data lists a venue under this name, so that its prices count."""
        found = self.parties.get(name)
        return found is not None and found.kind in PRICING_KINDS


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit.

    Attributes
    ----------
    id : str
        Unique name.
    scope_kind : str
        ``counterparty``, ``issuer``, ``bank``, ``asset``, ``book``, ``group`` or ``firm``.
    subject : str
        Name of the subject; ``*`` for each subject without a limit of its own.
    hard_usd : float
        Maximum sum of absolute exposures, USD.
    warning_share : float
        Share of `hard_usd` from which the limit warns, 0..1.
    mode, since : Mode and str, optional
        As of a :class:`~riskwatch.core.rules.Rule`.
    """

    id: str
    scope_kind: str
    subject: str
    hard_usd: Positive
    warning_share: Share = 0.8
    mode: Mode | msgspec.UnsetType = msgspec.UNSET
    since: str | msgspec.UnsetType = msgspec.UNSET


BOOK_SHARE: Final = 0.25
"""Share of the firm's equity that is the capital of a book that states none."""


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The firm's equity and its limits (``limits.toml``).

    Attributes
    ----------
    equity_usd : float
        The firm's equity, USD.
    limits : tuple of Limit
        The limits, in file order.
    capital_usd : dict of str to float
        Capital of books, USD: their losses are shares of it. A book without one has a quarter of
        `equity_usd`.
    """

    equity_usd: Positive
    limits: tuple[Limit, ...]
    capital_usd: dict[str, Positive] = {}

    def capital_of(self, book: str) -> float:
        """Return the capital of a book, USD."""
        return self.capital_usd.get(book, BOOK_SHARE * self.equity_usd)
