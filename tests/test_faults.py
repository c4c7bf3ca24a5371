"""Every fault that tests/faults.py plants still has its place: a text that occurs once in the file that it names."""

from pathlib import Path

import pytest

from faults import FAULTS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_there_is_one_place(fault):
    assert (ROOT / fault.file).read_text().count(fault.before) == 1
