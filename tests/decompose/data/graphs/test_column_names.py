"""What names of columns say, in the spellings of published tables of fraud."""

from __future__ import annotations

import pytest

from lorkit.decompose.data.graphs.column_names import (
    names_entity,
    names_id,
    names_label,
    names_measure,
    names_time,
    words_of,
)


def test_words_are_found_in_every_spelling() -> None:
    for name in ("card_id", "cardId", "CARD-ID", "Card Id", "card.id"):
        assert words_of(name) == ["card", "id"]
    assert words_of("TransactionDT") == ["transaction", "dt"]


@pytest.mark.parametrize(
    "name",
    ["customer_id", "nameDest", "card1", "addr1", "P_emaildomain", "Source", "Target", "ip", "merchantId", "zipcode",
     "account_number", "AccountNo", "device", "userid", "payee"],
)  # fmt: skip
def test_entities(name: str) -> None:
    assert names_entity(name)


@pytest.mark.parametrize(
    "name",
    ["amount", "customer_age", "account_balance", "newbalanceOrig", "user_count", "item_price", "num_devices", "hour",
     "distance_to_merchant", "V12", "merchant_lat", "card_limit", "transactionAmount"],
)  # fmt: skip
def test_measures_are_no_entities(name: str) -> None:
    assert not names_entity(name)
    assert name == "V12" or names_measure(name)


def test_an_account_is_no_count() -> None:
    assert not names_measure("account")
    assert names_measure("item_count")


def test_times_are_no_durations() -> None:
    assert all(map(names_time, ["Time", "timestamp", "trans_date", "TransactionDT", "step", "created_datetime", "when",
                                "created_at", "eventtime", "purchaseDate", "occurred_at", "Datum"]))  # fmt: skip
    assert not any(
        map(
            names_time,
            [
                "update",
                "lifetime",
                "at",
                "look_at_me",
                "sometimes",
                "time_since_last",
                "timeElapsed",
                "date_of_birth",
                "expiry_date",
                "amount",
            ],
        )
    )


def test_the_surest_label_comes_first() -> None:
    assert not names_label("amount")
    assert 0 < names_label("is_fraud") < names_label("Labels") < names_label("class") < names_label("target")


def test_ids() -> None:
    assert all(map(names_id, ["id", "transaction_id", "TransactionID", "uuid", "order no", "orderid"]))
    assert not any(map(names_id, ["paid", "amount", "grid"]))
