"""Published tables, run records and the ledger."""

import hashlib
import json
import resource
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from envae.experiments import published, records

# --- published tables -------------------------------------------------------------------------


def test_published_table_holds_the_papers_numbers():
    table = published.table("xu2025", 1).set_index(["row", "dataset", "metric"])["value"]
    assert table["L2", "CelebA-64", "FID_gen"] == 98.691
    assert table["EnVAE", "CIFAR-10", "FID_gen"] == 90.132
    assert table["FEnVAE", "LSUN-Church-64", "FID_re"] == 142.226


def test_unknown_table_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown published table 'xu2025_table9'"):
        published.table("xu2025", 9)


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The published tables, in a checkout of the test's own."""
    folder = tmp_path / "data" / "published"
    shutil.copytree(published._checkout.root() / "data" / "published", folder)
    monkeypatch.setattr("envae._checkout.root", lambda: tmp_path)
    return folder


def test_a_table_that_was_changed_is_one_line_that_names_its_file(tables):
    path = tables / "xu2025_table1.csv"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    half = b"".join(lines[: len(lines) // 2])
    for changed in (
        half,
        whole.replace(b"98.691", b"98,691"),
        whole.replace(b"98.691", b"96.891"),
        b"",
    ):
        path.write_bytes(changed)
        for read in (lambda: published.table("xu2025", 1), lambda: published.wide(path.stem)):
            with pytest.raises(
                ValueError, match=r"xu2025_table1\.csv .* not as it was transcribed"
            ):
                read()
    path.write_bytes(whole.replace(b"\n", b"\r\n"))  # as git may have it
    assert len(published.table("xu2025", 1)) == len(lines) - 1


@pytest.mark.parametrize(
    ("sums", "told"),
    [(lambda whole: b"junk\n" + whole, "is damaged: line 1"),
     (lambda whole: whole[:-30], "is damaged: line 16"),
     (lambda whole: whole.replace(b"  ", b"\xff\xfe", 1), "is damaged: line 1"),
     (lambda whole: b"", r"holds no checksum of xu2025_table1\.csv"),
     (lambda whole: whole.replace(b"xu2025_table1", b"xu2025_table9"),
      r"holds no checksum of xu2025_table1\.csv")],
)  # fmt: skip
def test_damaged_checksums_are_one_line_that_names_their_file(tables, sums, told):
    path = tables / "SHA256SUMS"
    path.write_bytes(sums(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"SHA256SUMS {told}.* write `sha256sum") as error:
        published.table("xu2025", 1)
    assert "\n" not in str(error.value)


def test_a_table_without_checksums_is_not_read(tables):
    (tables / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match=r"SHA256SUMS holds no checksum of xu2025_table1\.csv"):
        published.table("xu2025", 1)


def write_own(tables, text):
    """A table of one's own, with its checksum, as CONTRIBUTING.md has it."""
    (tables / "own.csv").write_text(text)
    with (tables / "SHA256SUMS").open("a") as sums:
        sums.write(f"{hashlib.sha256(text.encode()).hexdigest()}  own.csv\n")


def test_a_value_of_ones_own_table_that_is_no_number_is_named(tables):
    write_own(tables, "row,dataset,metric,value,unit,note\na,b,c,much,d,\n")
    assert published._read("own")["value"].tolist() == ["much"]
    with pytest.raises(ValueError, match=r"own\.csv holds a value that is no number: .*'much'"):
        published.wide("own")


OWN = """row,dataset,metric,value,unit,note
b,MNIST,FID,0.10,,
b,MNIST,FID_re,9.56e-2,,
b,digits,FID,12,,unclear
a,MNIST,FID_re,,,not printed
a,MNIST,FID,-3.500,,
a,digits,FID,7,,
"""


def test_a_table_is_read_with_its_digits_and_without_its_empty_cells(tables):
    write_own(tables, OWN)
    found = published.printed("own")
    assert found[["row", "metric", "text", "value", "half_unit"]].to_numpy().tolist() == [
        ["b", "FID", "0.10", 0.1, 0.005],
        ["b", "FID_re", "9.56e-2", 0.0956, pytest.approx(0.5e-4)],
        ["b", "FID", "12", 12.0, 0.5],
        ["a", "FID", "-3.500", -3.5, 0.0005],
        ["a", "FID", "7", 7.0, 0.5],
    ]
    assert found["note"].tolist() == ["", "", "unclear", "", ""]
    assert found.index.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="needs a finite number, received 'NaN'"):
        published.half_unit("NaN")


def test_a_wide_table_keeps_the_order_of_rows_and_columns(tables):
    write_own(tables, OWN)
    whole, mnist = published.wide("own"), published.wide("own", "MNIST")
    assert whole.index.tolist() == mnist.index.tolist() == ["b", "a"]
    assert whole.columns.tolist() == [("MNIST", "FID"), ("MNIST", "FID_re"), ("digits", "FID")]
    assert mnist.columns.tolist() == ["FID", "FID_re"]
    assert whole.fillna(-1).to_numpy().tolist() == [[0.1, 0.0956, 12], [-3.5, -1, 7]]
    assert mnist.fillna(-1).to_numpy().tolist() == [[0.1, 0.0956], [-3.5, -1]]


# --- records ----------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    return tmp_path


def save(seed=0, fd=1.5, **options):
    parameters = {"seed": seed, "alpha": 0.1}
    return records.save("try", parameters, {"fd": fd}, units={"fd": "FD (x)"}, seconds=1, **options)


def test_a_record_holds_its_run(runs):
    path = save(curves={"total": range(1000)}, data_checksum="abc")
    record = json.loads(path.read_text())
    assert path.parent == runs / "try"
    assert record["metrics"] == {"fd": 1.5}
    assert record["units"] == {"fd": "FD (x)"}
    assert record["curves"]["total"][-1] == 999
    assert len(record["curves"]["total"]) <= records.CURVE_POINTS + 1
    assert {"commit", "dirty", "date", "device", "packages", "python", "seconds", "data"} == set(
        record["manifest"]
    )
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_repository_around_the_checkout_is_not_its_commit(runs, tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "another's"], check=True)
    monkeypatch.setattr(records._checkout, "root", lambda: tmp_path)
    monkeypatch.setattr(records, "_PACKAGE", tmp_path / "envae")
    assert len(records.manifest()["commit"]) == 40
    assert records.manifest()["dirty"] is False
    (tmp_path / "envae").mkdir()
    (tmp_path / "envae" / "new.py").touch()
    subprocess.run([*git, "config", "status.showUntrackedFiles", "no"], check=True)
    assert records.manifest()["dirty"] is True
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr(records._checkout, "root", lambda: tmp_path / "unpacked")
    monkeypatch.setattr(records, "_PACKAGE", tmp_path / "unpacked" / "envae")
    assert (records.manifest()["commit"], records.manifest()["dirty"]) == ("", None)
    monkeypatch.setenv("PATH", "")
    assert (records.manifest()["commit"], records.manifest()["dirty"]) == ("", None)


def test_a_commit_is_that_of_the_code_that_runs(tmp_path, monkeypatch):
    def repository(name):
        git = ["git", "-C", str(tmp_path / name), "-c", "user.name=x", "-c", "user.email=x@x"]
        (tmp_path / name).mkdir()
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", name], check=True)
        return subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )

    own, other = (repository(name).stdout.strip() for name in ("own", "other"))
    monkeypatch.setattr(records._checkout, "root", lambda: tmp_path / "own")
    assert records.manifest()["commit"] == ""  # installed elsewhere
    monkeypatch.setattr(records, "_PACKAGE", tmp_path / "own" / "envae")
    for name in ("GIT_DIR", "GIT_COMMON_DIR"):  # as a hook of the other has
        monkeypatch.setenv(name, str(tmp_path / "other" / ".git"))
    assert own == records.manifest()["commit"] != other
    assert records.manifest()["dirty"] is False
    (tmp_path / "own" / ".git" / "index").write_bytes(b"damaged")
    assert (records.manifest()["commit"], records.manifest()["dirty"]) == (own, None)


def test_same_parameters_same_record_others_another(runs):
    assert save(fd=1.0) == save(fd=2.0) != save(seed=1)
    table = records.load("try")
    assert sorted(table["fd"]) == [1.5, 2.0]


def test_missing_runs_are_named(runs):
    save(seed=1)
    table = records.load("try", expected=[{"seed": s, "alpha": 0.1} for s in (0, 1)])
    assert table.set_index("seed")["done"].to_dict() == {0: False, 1: True}
    assert table.set_index("seed")["fd"].isna()[0]


def test_committed_records_are_read_too_and_fresh_ones_come_first(runs, monkeypatch):
    committed = runs / "data" / "runs"
    monkeypatch.setattr("envae._checkout.root", lambda: runs)
    for place, fd in ((committed, 1.0), (runs / "fresh", 2.0)):
        monkeypatch.setenv("ENVAE_RUNS", str(place))
        save(fd=fd)
    save(seed=1, fd=3.0)
    assert records.load("try").set_index("seed")["fd"].to_dict() == {0: 2.0, 1: 3.0}


def test_without_a_checkout_a_record_is_written_and_read(runs, monkeypatch):
    monkeypatch.setattr("envae._checkout.__file__", str(runs / "site-packages" / "_checkout.py"))
    monkeypatch.chdir(runs)
    save()
    [row] = records.load("try").to_dict("records")
    assert (row["fd"], row["commit"]) == (1.5, "")
    assert records.load("try", [{"seed": 0, "alpha": 0.1}])["done"].all()
    monkeypatch.delenv("ENVAE_RUNS")
    for use in (save, lambda: records.load("try")):
        with pytest.raises(FileNotFoundError, match=r"or set \$ENVAE_RUNS"):
            use()


def test_bad_records_are_errors(runs):
    with pytest.raises(ValueError, match="finite"):
        save(fd=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.save("try", {"seed": 0, "lr": float("nan")}, {"fd": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.key("try", {"lr": float("inf")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write(runs / "note.json", {"lr": float("nan")})
    with pytest.raises(ValueError, match=r"units for \['FD'\], but the metrics are \['fd'\]"):
        records.save("try", {}, {"fd": 1.0}, units={"FD": "FD (x)"})
    with pytest.raises(TypeError):
        records.save("try", {"seed": torch.tensor(1)}, {"fd": 1.0})
    assert list(runs.rglob("*")) == []
    save().write_text("{")
    with pytest.raises(ValueError, match="not a whole run record"):
        records.load("try")


def test_a_record_under_the_name_of_another_point_is_refused(runs):
    shutil.copy(save(seed=0), save(seed=1))
    with pytest.raises(ValueError, match=r"not a whole run record \(its name is that of another"):
        records.load("try")


@pytest.mark.parametrize("value", ['"12,5"', "[1.0]", "NaN", "1e999", "true", "null"])
def test_a_metric_that_is_no_finite_number_is_refused(runs, value):
    path = save(fd=1.5)
    path.write_text(path.read_text().replace("1.5", value, 1))
    with pytest.raises(ValueError, match=r"not a whole run record \(metrics are no finite numb"):
        records.load("try")


@pytest.mark.parametrize("metrics", [{}, {"loss": 1.5}, {"fd": 1.5, "loss": 1.5}])
def test_a_record_that_lost_or_gained_a_metric_is_refused(runs, metrics):
    path = save(fd=1.5)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": metrics}))
    with pytest.raises(ValueError, match=r"not a whole run record .*but units for \['fd'\]"):
        records.load("try")


@pytest.mark.parametrize("name", ["seconds", "done", "key", "date", "fd"])
def test_parameters_metrics_and_origin_have_names_of_their_own(runs, name):
    with pytest.raises(ValueError, match=rf"need names of their own: \['{name}'\]"):
        records.save("try", {name: 3, "seed": 0}, {"fd": 1.0})
    with pytest.raises(ValueError, match=r"need names of their own: \['seed'\]"):
        records.save("try", {"seed": 0}, {"seed": 1.0})
    assert not list(runs.rglob("*.json"))


BROKEN = [b"", b"{", b"[]", b"{}", '{"parameters": "\xe4"}'.encode("latin-1"), None]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_record_is_one_line_that_names_the_file(runs, content):
    path = save()
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    parameters = {"seed": 0, "alpha": 0.1}
    for read in (
        lambda: records.load("try"),
        lambda: records.load("try", [parameters]),
        lambda: records.curves("try", path.stem),
    ):
        with pytest.raises(
            ValueError, match=rf"{path.name} is not a whole run record .*: remove it"
        ):
            read()


def test_threads_that_save_one_point_do_not_meet(runs):
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda fd: save(fd=fd), [float(i) for i in range(40)]))
    assert records.load("try")["fd"].item() in range(40)
    assert [*runs.rglob("*.*")] == [*paths]


def test_on_a_full_disk_nothing_is_left_of_a_record(runs):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [*runs.rglob("*.*")] == []


def test_a_record_that_is_cut_off_while_it_is_written_is_never_read(runs, monkeypatch):
    save(fd=1.0)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(fd=2.0)
    assert records.load("try")["fd"].tolist() == [1.0]
    assert len([*runs.rglob("*.*")]) == 1


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", ".", "", "a\\b", "a\0b"])
def test_an_experiment_stays_in_its_folder(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ValueError, match="the name of a folder"):
        records.save(name, {"a": 1}, {"b": 2.0})
    for ask in (lambda: records.load(name), lambda: records.load(name, [{"a": 1}])):
        with pytest.raises(ValueError, match="the name of a folder"):
            ask()
    assert not list(tmp_path.iterdir())
