"""The codec on malicious bytes: it never raises, and accepts no invalid event.

``RISKWATCH_FUZZ`` sets the number of mutated messages (default 100,000).
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.contracts.codec import SHAPES_BY_TYPE, decode, encode
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.structure import count_separators, find_duplicate_key, read_object
from riskwatch.contracts.validation import EARLIEST, LATEST, MAX_AHEAD
from riskwatch.core.enums import RejectReason
from riskwatch.core.money import MAX_ABS, MAX_SCALE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from riskwatch.core.events import WireEvent

from tests.support.golden import goldens

COUNT: Final = int(os.environ.get("RISKWATCH_FUZZ", "100000"))
CORPUS: Final = [*goldens().values(), *goldens(outputs=True).values()]
VALUES: Final = [
    *(b'"%s"' % n for n in b"0 -0 -1 1E+999999 1E-999999 1E-18 1E23 1E24 NaN -Infinity".split()),
    *(b'"%s"' % n for n in (b"9" * 25, b"0." + b"1" * 19, b"1_0", b" 1", b"", b"\\u0000")),
    *(b'"%s"' % t for t in b"2008-12-31T23:59:59Z 9999-12-31T23:59:59-23:59 kraken".split()),
    *(b'"%s"' % s for s in ("\u202e".encode(), b"\xc2\x85", b"\xed\xa0\x80", b"\\ud800", b":")),
    *b"null true -1 0 1 1.5 1e999 NaN [] {} [[[]]]".split(),
    b"9" * 400,
    b"[" * 70 + b"]" * 70,
    b'{"a":1,"a":2}',
]
_VALUE: Final = re.compile(rb':("[^"]*"|[^",{}\[\]]+)')
_HIDDEN: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def flip(rng: random.Random, raw: bytes) -> bytes:
    """Flip one to three bits."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncate(rng: random.Random, raw: bytes) -> bytes:
    """Cut off an end, or a piece of the middle."""
    a, b = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
    return raw[:a] if rng.random() < 0.5 else raw[:a] + raw[b:]


def splice(rng: random.Random, raw: bytes) -> bytes:
    """Continue with another message from some field on."""
    other = rng.choice(CORPUS)
    cuts = [m.start() for m in re.finditer(rb',"', raw)] or [0]
    more = [m.start() for m in re.finditer(rb',"', other)] or [0]
    return raw[: rng.choice(cuts)] + other[rng.choice(more) :]


def twice(rng: random.Random, raw: bytes) -> bytes:
    """Repeat a key, perhaps with an escape or with white space."""
    fields = re.findall(rb'"(\w+)":', raw)
    if not fields:
        return raw + raw
    name = rng.choice(fields)
    form = rng.choice((b'"%s":', b'"%s" :', b'"\\u%04x%s":'))
    key = form % (name[0], name[1:]) if form.count(b"%") == 2 else form % name
    return raw[:-1] + b"," + key + rng.choice(VALUES) + b"}"


def substitute(rng: random.Random, raw: bytes) -> bytes:
    """Replace one or two values by awkward ones."""
    for _ in range(rng.randint(1, 2)):
        places = list(_VALUE.finditer(raw))
        if not places:
            return raw
        place = rng.choice(places)
        raw = raw[: place.start(1)] + rng.choice(VALUES) + raw[place.end(1) :]
    return raw


def retype(rng: random.Random, raw: bytes) -> bytes:
    """Change the type or the version of the message."""
    if rng.random() < 0.1:
        return raw.replace(b'"v":1', b'"v":' + rng.choice(VALUES))
    tag = rng.choice(CORPUS).split(b",", 1)[0]
    return tag + raw[raw.index(b",") :] if b"," in raw else raw


def nest(rng: random.Random, raw: bytes) -> bytes:
    """Wrap the message, or add a deep field."""
    depth = rng.choice((1, 10, 63, 64, 65, 2000))
    if rng.random() < 0.3:
        return b"[" * depth + raw + b"]" * depth
    return raw[:-1] + b',"args":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


def keep(_rng: random.Random, raw: bytes) -> bytes:
    """Leave the message unchanged, so that some messages are accepted."""
    return raw


MUTATIONS: Final[list[Callable[[random.Random, bytes], bytes]]] = [
    flip, truncate, splice, twice, substitute, substitute, retype, nest, keep,
]  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """Mutate a golden message once or twice."""
    raw = rng.choice(CORPUS)
    for _ in range(rng.randint(1, 2)):
        raw = rng.choice(MUTATIONS)(rng, raw) or b"{}"
    return raw


def leaves(value: Any) -> list[Any]:
    """Yield all values of an event, at any depth."""
    if isinstance(value, dict):
        return [x for pair in value.items() for y in pair for x in leaves(y)]
    if isinstance(value, (list, tuple)):
        return [x for y in value for x in leaves(y)]
    return [value]


def hold(event: WireEvent) -> None:
    """Assert the properties of an accepted event on which stages rely."""
    shape = SHAPES_BY_TYPE[type(event)]
    for leaf in leaves(msgspec.structs.asdict(event)):
        if isinstance(leaf, Decimal):
            exponent = leaf.as_tuple().exponent
            assert isinstance(exponent, int)
            assert abs(leaf) < MAX_ABS
            assert exponent >= -MAX_SCALE
        elif isinstance(leaf, str):
            assert _HIDDEN.search(leaf) is None
    for field in shape.times:
        moment: datetime | None = getattr(event, field)
        assert moment is None or (EARLIEST <= moment < LATEST and moment.tzinfo is UTC)
    for field in shape.names:
        optional = field == "deployment"  # empty in commands of builds that knew none
        names = [x for x in leaves(getattr(event, field)) if x is not None and (x or not optional)]
        assert all(name and name.isprintable() for name in names)
    assert event.arrived is None or event.ts - event.arrived <= MAX_AHEAD


def test_mutated_messages() -> None:
    """Each result is a refusal that can be stored, or a valid event."""
    rng = random.Random(20230311)
    seen: Counter[str] = Counter()
    for _ in range(COUNT):
        raw = mutated(rng)
        answer = decode(raw)
        if isinstance(answer, Refusal):
            seen[answer.reason] += 1
            assert answer.detail.isprintable()
            continue
        seen["accepted"] += 1
        hold(answer)
        assert find_duplicate_key(raw) is None
        assert decode(encode(answer)) == answer
    # A fuzzer that hits one wall only proves nothing: each reason of the boundary must occur.
    boundary = {str(reason) for reason in RejectReason} - {
        "MESSAGE_EMPTY", "MESSAGE_TOO_LARGE", "FACT_TOO_LATE", "FACT_CONFLICT", "LIMIT_REACHED",
        "NOT_ROUTED", "KEY_MISMATCH", "QUARANTINED", "COMMAND_REFUSED", "DEPLOYMENT_FOREIGN",
        "SIGNATURE_INVALID", "TS_TOO_OLD", "NAME_ALIAS",
    }  # fmt: skip
    assert boundary <= set(seen), boundary - set(seen)
    assert seen["accepted"] > COUNT // 20


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    """No bytes make it raise."""
    assert isinstance(decode(raw), Refusal)


_JSON: Final = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a":\\ \n,{}é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.lists(
        st.tuples(st.sampled_from(["a", "b", '":', 'a"', ':"', "\\", ""]), inner), max_size=4
    ).map(tuple),
    max_leaves=12,
)  # fmt: skip


def _spelled(value: Any, gap: str) -> str:
    """Encode JSON from a tree with objects as tuples of pairs, so that keys can repeat."""
    if isinstance(value, tuple):
        body = ",".join(f"{json.dumps(k)}{gap}:{gap}{_spelled(x, gap)}" for k, x in value)
        return "{" + body + "}"
    if isinstance(value, list):
        return "[" + f"{gap},".join(_spelled(x, gap) for x in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", '":', ':"']), _JSON), max_size=5).map(tuple),
    st.sampled_from(["", " ", "\n\t", "\r"]),
)
def test_quick_count_of_keys_is_sound(pairs: tuple[tuple[str, Any], ...], gap: str) -> None:
    """Whatever the quick count accepts, the exact search accepts too."""
    raw = _spelled(pairs, gap).encode()
    exact = find_duplicate_key(raw)
    if count_separators(raw) == len(msgspec.json.decode(raw)):
        assert exact is None
    answer = read_object(raw)
    assert isinstance(answer, Refusal) == (exact is not None)
