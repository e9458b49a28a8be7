"""What names of columns say: whether they name an entity, a measure, the time, a label or a row."""

from __future__ import annotations

import re

_LABELS = ("isfraud", "fraud", "label", "labels", "class", "fraudlabel", "isfraudulent", "fraudulent", "chargeback",
           "ischargeback", "islaundering", "target", "outcome", "y")  # fmt: skip
"""Without separators, the surest first."""
_TIMES = {"time", "timestamp", "date", "datetime", "ts", "dt", "epoch", "unix", "step", "when", "moment", "occurred",
          "created", "datum", "zeit"}  # fmt: skip
_TIME_ENDS = ("timestamp", "datetime", "date", "time")
_NO_TIME_ENDS = {"update", "candidate", "mandate", "lifetime", "runtime", "uptime", "downtime", "overtime", "sometime"}
_NO_TIMES = {"since", "last", "diff", "delta", "elapsed", "duration", "between", "processing", "lag", "birth", "expiry",
             "of", "per", "to", "until", "avg", "mean"}  # fmt: skip
_IDS = {"id", "uid", "uuid", "guid", "key", "no", "nr", "number", "ref", "reference", "hash", "index", "idx", "row"}
_ENTITIES = {
    "account", "acct", "addr", "address", "agent", "app", "bank", "beneficiary", "branch", "broker", "browser", "buyer",
    "card", "city", "client", "code", "company", "contract", "cookie", "cust", "customer", "dest", "device", "domain",
    "email", "employee", "firm", "host", "iban", "id", "imei", "ip", "item", "key", "location", "mac", "mail", "member",
    "merchant", "mobile", "number", "orig", "origin", "owner", "patient", "payee", "payer", "phone", "plate", "policy",
    "postal", "postcode", "product", "provider", "receiver", "recipient", "seller", "sender", "session", "shop", "sku",
    "source", "src", "store", "supplier", "target", "terminal", "uid", "user", "vehicle", "vendor", "zip", "zipcode",
}  # fmt: skip
_MEASURES = {
    "age", "amount", "amt", "avg", "balance", "cnt", "cost", "count", "counts", "day", "days", "dist", "distance",
    "duration", "freq", "height", "hour", "hours", "income", "lat", "latitude", "length", "level", "limit", "lon",
    "longitude", "max", "mean", "min", "minute", "minutes", "month", "months", "n", "nb", "num", "pct", "percent",
    "population",
    "price", "quantity", "rank", "rate", "ratio", "score", "second", "seconds", "size", "std", "sum", "time", "total",
    "value", "volume", "week", "weeks", "weight", "width", "year", "years",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")


def words_of(name: str) -> list[str]:
    """Return the words of a name in lower case: those of `cardId`, `card_id` and `CARD-ID` are card and id."""
    return [word.lower() for word in _WORD.findall(name)]


def names_label(name: str) -> int:
    """Return a place above 0 for the name of a label, a lower one for a surer one; 0 for any other name."""
    plain = "".join(words_of(name))
    return _LABELS.index(plain) + 1 if plain in _LABELS else 0


def names_time(name: str) -> bool:
    """Return whether a name is that of a time, not of a duration."""
    words = words_of(name)
    ends = any(word.endswith(_TIME_ENDS) and word not in _NO_TIME_ENDS for word in words)  # as in eventtime
    stated = bool(_TIMES.intersection(words)) or ends or words[1:][-1:] == ["at"]  # as in created_at
    return stated and not _NO_TIMES.intersection(words)


def names_id(name: str) -> bool:
    """Return whether a name is that of what is different in every row."""
    words = words_of(name)
    return bool(_IDS.intersection(words)) or any(len(word) > 4 and word.endswith("id") for word in words)


def names_measure(name: str) -> bool:
    """Return whether a name is that of an amount, a count or another measure."""
    words, long = words_of(name), tuple(word for word in _MEASURES if len(word) > 5)  # an account is no count
    return any(word in _MEASURES or word.startswith(long) or word.endswith(long) for word in words)


def names_entity(name: str) -> bool:
    """Return whether a name is that of an entity, such as a card or a shop, and not of a measure of one."""
    words = words_of(name)
    if names_measure(name):
        return False
    long = tuple(word for word in _ENTITIES if len(word) > 3)
    return any(word in _ENTITIES or word.startswith(long) or word.endswith(long) for word in words)
