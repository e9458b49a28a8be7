"""The built-in graph: simulated card payments, some of them by rings that share devices and shops.

Payments of one user, shop or device are related, and have times. A payment itself tells little, because the amounts of
rings are typical of a shop. Their devices tell more. The parts are those of time: the test part comes after training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.graphs.graph import UNLABELLED, Graph, build_keys
from lorkit.decompose.data.phantoms import PAYMENTS

CLASSES = ("honest", "fraud")
_ROWS, _USERS, _SHOPS, _DEVICES, _RINGS = 6000, 900, 120, 1000, 60
_FRAUD, _ALONE, _UNKNOWN = 0.1, 0.25, 0.1
"""Share of fraud, of fraud that no ring does, and of payments that nobody looked into."""
_SHARES = {"train": 0.5, "val": 0.1, "test": 0.4}
_DAY, _DAYS, _SEED = 86400.0, 60.0, 16


def payments() -> Graph:
    """Return the graph, the same on every machine."""
    rng = np.random.default_rng(_SEED)
    times_N = np.sort(rng.uniform(0, _DAYS * _DAY, _ROWS)).round()
    fraud_N = rng.uniform(size=_ROWS) < _FRAUD
    ring_N = np.where(fraud_N & (rng.uniform(size=_ROWS) >= _ALONE), _ring_at(times_N, rng), -1)
    user_N, device_N = _people(ring_N, rng)
    shop_N = np.where(ring_N >= 0, ring_N % 30, rng.zipf(1.6, _ROWS) % _SHOPS)
    amount_N = np.exp(3 + 0.02 * shop_N + 0.4 * fraud_N + rng.normal(0, 0.8, _ROWS))
    hour_N = (times_N / 3600) % 24
    columns = {"user": user_N, "shop": shop_N, "device": device_N}
    labels_N = np.where(rng.uniform(size=_ROWS) < _UNKNOWN, UNLABELLED, fraud_N.astype(np.int64))
    ends = np.cumsum([round(share * _ROWS) for share in _SHARES.values()])
    parts = np.array(list(_SHARES))[np.searchsorted(ends, np.arange(_ROWS), side="right")].tolist()
    return Graph(
        features_NF=np.stack([amount_N.round(2), hour_N.round(2)], axis=1).astype(np.float32),
        feature_names=("amount", "hour"),
        labels_N=labels_N,
        classes=CLASSES,
        relations={
            name: build_keys([f"{name}-{key}" for key in keys], where=f"phantom:{PAYMENTS}, {name}")[0]
            for name, keys in columns.items()
        },
        ids=tuple(f"payment-{row}" for row in range(_ROWS)),
        parts=tuple(part if known else None for part, known in zip(parts, labels_N != UNLABELLED, strict=True)),
        times_N=times_N,
        time_form="numbers",
        origin=f"phantom:{PAYMENTS}",
        synthetic=True,
    )


def _ring_at(times_N: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a ring that is at work at each time: each is active for some days."""
    start = rng.uniform(-5, _DAYS, _RINGS)
    distance_NR = times_N[:, None] / _DAY - start
    active_NR = (distance_NR > 0) & (distance_NR < 12)
    score_NR = np.where(active_NR, rng.uniform(size=active_NR.shape), -1.0)
    return np.where(active_NR.any(1), score_NR.argmax(1), -1)


def _people(ring_N: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the user and device of each payment: users have one device or two, rings share a few for many users."""
    user_N = rng.integers(0, _USERS, len(ring_N))
    own_N = (user_N + _USERS // 2 * (rng.uniform(size=len(ring_N)) < 0.2)) % _DEVICES
    shared_N = _DEVICES + 3 * ring_N + rng.integers(0, 3, len(ring_N))
    return user_N, np.where(ring_N >= 0, shared_N, own_N)
