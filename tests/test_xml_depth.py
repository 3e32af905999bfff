"""XML nested without end is refused at once, by name, by both formats that are XML."""

import time

import pytest

from cdtr.errors import DataError
from cdtr.formats import cvat
from cdtr.formats.voc import read_voc


@pytest.mark.parametrize("read", [read_voc, lambda path: cvat.read(path, True)], ids=["voc", "cvat"])
@pytest.mark.parametrize("levels", [70, 1_000_000], ids=["a-little", "far"])
def test_deep_xml_is_refused_before_a_tree_is_built(read, levels, tmp_path):
    path = tmp_path / "deep.xml"
    path.write_text("<annotations>" + "<a>" * levels)
    start = time.process_time()
    with pytest.raises(DataError, match=r"deep\.xml .*nested deeper than 64 levels") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < 2


def test_a_large_file_for_one_image_is_refused_unread(tmp_path):
    path = tmp_path / "large.xml"
    with path.open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(DataError, match=r"large\.xml .*too many for the boxes of one image"):
        read_voc(path)
