"""A task file in parts: named by its content when whole; refused when out of order."""

from base64 import b64encode

import pytest

from workbench.api.workbench import Workbench
from workbench.pages.uploads import receive

TOKEN = "0123456789abcdef"


def part(data: bytes, offset: int = 0, last: bool = True, name: str = "my prompts.jsonl") -> dict:
    text = b64encode(data).decode()
    return {"token": TOKEN, "name": name, "offset": offset, "data": text, "last": last}


@pytest.fixture
def wb(tmp_path) -> Workbench:
    return Workbench(tmp_path / "runs")


def test_parts_make_one_file_and_the_same_content_is_the_same_file(wb):
    assert receive(wb, part(b'{"prompt"', last=False)) == {"next": 9}
    whole = receive(wb, part(b': "a"}\n', offset=9))["path"]
    # sha256 of {"prompt": "a"}\n begins so
    assert whole.startswith(str(wb.runs_dir / "uploads"))
    assert whole.endswith("-my-prompts.jsonl")
    with open(whole, "rb") as file:
        assert file.read() == b'{"prompt": "a"}\n'
    assert receive(wb, part(b'{"prompt": "a"}\n'))["path"] == whole
    assert receive(wb, part(b'{"prompt": "b"}\n'))["path"] != whole
    assert len(list((wb.runs_dir / "uploads").iterdir())) == 2, "no part is left behind"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (part(b"x", name="mine.py"), "'mine.py' is no task file; allowed are .jsonl"),
        (part(b"x", offset=5), "was not received in order"),
        (part(b"x") | {"token": "../../etc"}, "expected 8 to 64 hexadecimal digits"),
        (part(b"x") | {"data": "%%%"}, "is no base64"),
    ],
)
def test_what_cannot_be_kept_is_refused(wb, asked, says):
    with pytest.raises(ValueError, match=says):
        receive(wb, asked)
    assert not list(wb.runs_dir.glob("uploads/*-*"))


def test_a_name_cannot_leave_the_folder(wb):
    path = receive(wb, part(b"{}", name="../../.secret/x y.jsonl"))["path"]
    assert path.rpartition("/")[0] == str(wb.runs_dir / "uploads")
    assert path.endswith("-x-y.jsonl")
