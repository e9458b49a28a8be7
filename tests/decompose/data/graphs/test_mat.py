"""The published `.mat` layout of YelpChi and Amazon, in small files of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix, csr_array

from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs import mat
from lorkit.decompose.data.graphs.graph import Edges, Graph
from lorkit.decompose.data.graphs.mat import edges_of_matrix
from lorkit.decompose.errors import DataError, UsageError

FEATURES = np.array([[0.5, -1], [0, 2], [3, 0]])
UP = csc_matrix(np.array([[0, 1.0, 0], [0, 0, 0], [1, 0, 1]]))  # the last is a self-loop
YELP = {
    "homo": csc_matrix(np.ones((3, 3))),
    "net_rur": UP,
    "net_rsr": csc_matrix((3, 3)),
    "features": csc_matrix(FEATURES),
    "label": np.array([[0, 1, 0]]),
}
OUTSIDE = csc_matrix((np.ones(3), np.array([0, 1, 10**8]), np.array([0, 1, 2, 3])), shape=(3, 3), copy=True)


def read(path: Path, variables: dict[str, Any], **source: Any) -> Graph:
    savemat(path, variables)
    return mat.read(path, GraphSource(**source))


@pytest.mark.parametrize("features", [csc_matrix(FEATURES), FEATURES])
def test_any_subset_of_the_relations(tmp_path: Path, features: Any) -> None:
    graph = read(tmp_path / "YelpChi.mat", {**YELP, "features": features}, classes=("real", "spam"))
    assert list(graph.relations) == ["rur", "rsr"]
    edges = graph.relations["rur"]
    assert isinstance(edges, Edges)
    assert edges.neighbours.toarray().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert graph.features_NF.tolist() == FEATURES.tolist()
    assert graph.features_NF.dtype == np.float32
    assert (graph.labels_N.tolist(), graph.classes) == ([0, 1, 0], ("real", "spam"))
    where = f"{tmp_path}/YelpChi.mat, relation"
    assert graph.notices == (f"{where} 'rur': 1 self-loop removed", f"{where} 'rsr': no edges")


def test_a_matrix_holds_edges_from_row_to_column() -> None:
    matrix = csr_array(([2.5, 0.0, 1.0], ([0, 1, 2], [3, 2, 2])), shape=(4, 4))
    edges, notices = edges_of_matrix(matrix, 4, where="g")
    assert list(zip(*np.nonzero(edges.neighbours.toarray()), strict=True)) == [(3, 0)]
    assert notices == ("g: 1 self-loop removed",)
    with pytest.raises(DataError, match=r"\(4, 4\).*required: \(5, 5\)"):
        edges_of_matrix(matrix, 5, where="g")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [csc_matrix, csr_array, np.asarray])
def test_weights_that_may_be_edges_or_none_are_refused(form: Any, value: float) -> None:
    dense = np.zeros((4, 4))
    dense[0, 1] = dense[3, 3] = 1
    assert edges_of_matrix(form(dense), 4, where="g")[0].neighbours.nnz == 1
    dense[2, 1] = dense[2, 3] = value
    said = rf"g: the weight of the edge from node 2 to [13] is {value}; 2 such weights in all; required: finite"
    with pytest.raises(DataError, match=said):
        edges_of_matrix(form(dense), 4, where="g")


def test_the_union_is_read_where_stated_or_alone(tmp_path: Path) -> None:
    assert list(read(tmp_path / "a.mat", YELP, relations="homo").relations) == ["homo"]
    alone = {key: value for key, value in YELP.items() if not key.startswith("net_")}
    assert list(read(tmp_path / "a.mat", alone).relations) == ["homo"]


def test_the_first_users_of_amazon_have_no_label(tmp_path: Path) -> None:
    count = 11_944
    label = np.zeros((1, count))
    label[0, -5:] = 1
    amazon = {"net_upu": csc_matrix((count, count)), "features": np.ones((count, 1)), "label": label}
    graph = read(tmp_path / "Amazon.mat", amazon)
    assert (graph.labels_N[:3_305] == -1).all()
    assert (graph.labels_N[3_305:] != -1).all()
    assert any("first 3,305 users" in text for text in graph.notices)
    label[0, 0] = 1
    assert (read(tmp_path / "Amazon.mat", amazon).labels_N != -1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "no 'features' among homo, net_rur"),
        ({"label": None}, "no 'label' among"),
        ({"label": np.array([[0, 1]])}, "2 labels"),
        ({"net_rur": csc_matrix((2, 2))}, r"relation 'rur': a matrix of shape \(2, 2\)"),
        ({"net_rur": None, "net_rsr": None, "homo": None}, "has no relation"),
        ({"features": np.full((3, 2), np.inf)}, "is inf"),
        ({"features": OUTSIDE}, "'features' has values outside its 3 rows"),
        ({"net_rur": OUTSIDE}, "'net_rur' has values outside"),
        ({"features": csc_matrix((10**9, 3))}, r"'features' of shape \(1000000000, 3\); required: at most"),
        ({"label": csc_matrix((2 * 10**8, 1))}, "3 rows of features and 200000000 labels"),
        (
            {"net_rur": np.full((3, 3), "x", dtype=object)},
            "'net_rur' is a cell array; required: a matrix of real",
        ),
        ({"features": FEATURES * 1j}, "'features' is an array of complex numbers"),
        ({"label": np.array([0, "spam", 1.5], dtype=object)}, "'label' is a cell array"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.mat", {key: value for key, value in {**YELP, **changes}.items() if value is not None})


def test_damaged_newer_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, YELP)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:100], b"", b"x" * 300):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="intact"):
            mat.read(path, GraphSource())
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x00" * 400)
    with pytest.raises(DataError, match=r"MATLAB 7\.3.*-v7"):
        mat.read(path, GraphSource())
    with pytest.raises(UsageError, match="is no table"):
        mat.read(path, GraphSource(label="y"))
