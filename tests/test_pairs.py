"""data.pairs: tables of files and what is read from them."""
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from data.pairs import (
    Example,
    Pair,
    Picture,
    annotation,
    hold_out,
    load_image,
    read_jsonl,
    read_pairs,
)
from data.runs import write_jsonl
from data.verdict import Discrepancy, InputError, Verdict

# --- lines ---

LINES = {  # content of the file -> (number of the line, object) of each
    "nothing": (b"", []),
    "blank lines only": (b"\n \n\t\n", []),
    "two lines": (b'{"a": 1}\n{"b": 2}\n', [(1, {"a": 1}), (2, {"b": 2})]),
    "no line break at the end": (b'{"a": 1}\n{"b": 2}', [(1, {"a": 1}), (2, {"b": 2})]),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}\n', [(1, {"a": 1})]),
    "blank lines": (b'\n{"a": 1}\n\n  \n{"b": 2}\n\n', [(2, {"a": 1}), (5, {"b": 2})]),
    "line breaks of Windows": (b'{"a": 1}\r\n\r\n{"b": 2}\r\n', [(1, {"a": 1}), (3, {"b": 2})]),
    "a JSON list": (b'[{"a": 1}, {"b": 2}]', [(1, {"a": 1}), (1, {"b": 2})]),
    "a JSON list of several lines": (b'\n[\n  {"a":\n 1},\n  {"b": 2}\n]\n',
                                     [(1, {"a": 1}), (1, {"b": 2})]),
    "a list with a byte order mark": (b'\xef\xbb\xbf[{"a": 1}]', [(1, {"a": 1})]),
    "an empty list": (b"[]", []),
    "line separators": ('{"a": "x\u2028y\u2029z\x85"}\n{"b": 2}'.encode(),
                        [(1, {"a": "x\u2028y\u2029z\x85"}), (2, {"b": 2})]),
    "letters": ('{"ä": "ü\\n€"}'.encode(), [(1, {"ä": "ü\n€"})]),
}
BROKEN = {  # content of the file, None: no file -> what the sentence says after the file's name
    "cut off": (b'{"a": 1}\n{"b": ', ":2: this line is not JSON (Expecting value)."),
    "words": (b"{}\n\nnope\n", ":3: this line is not JSON (Expecting value)."),
    "two objects in a line": (b"{} {}", ":1: this line is not JSON (Extra data)."),
    "a list cut off": (b'[{"a": 1},\n', ":1: this line is not JSON"),
    "deep": (b'{"a":' * 100_000, ":1: this line is not JSON"),
    "a number too long to read": (b'{"a": ' + b"9" * 5000 + b"}", ":1: this line is not JSON"),
    "a number": (b"{}\n3\n", ":2: expected an object with fields, found '3'."),
    "null": (b"null", ":1: expected an object with fields, found 'None'."),
    "a text": (b'"text"', ":1: expected an object with fields, found 'text'."),
    "a list of numbers": (b"[1, 2]", ":1: expected an object with fields, found '1'."),
    "a list in the second line": (b"{}\n[[]]", ":2: expected an object with fields, found '[]'."),
    "Latin-1": (b'{"a": "\xfc"}', " cannot be read: 'utf-8' codec can't decode"),
    "no file": (None, " cannot be read: [Errno 2] No such file"),
}


@pytest.mark.parametrize("name", LINES)
def test_lines(name, tmp_path):
    content, expected = LINES[name]
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert list(read_jsonl(path)) == [(f"{path}:{number}", row) for number, row in expected]
    assert list(read_jsonl(str(path))) == list(read_jsonl(path))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_lines_are_named_by_file_and_line(name, tmp_path):
    content, words = BROKEN[name]
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as told:
        list(read_jsonl(path))
    assert str(told.value).startswith(f"{path}{words}") and str(told.value).endswith(".")


def test_what_stands_before_a_broken_line_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"b": 2}\n{')
    rows = read_jsonl(tmp_path / "a.jsonl")
    assert [next(rows)[1], next(rows)[1]] == [{"a": 1}, {"b": 2}]
    with pytest.raises(InputError, match="a.jsonl:3: "):
        next(rows)


# --- pairs ---

ERROR = {"type": "shape_error", "severity": 2, "location": "circle",
         "description": "size 3%, should be 1%"}
ROW = {"id": "svg-000007-1", "category": "svg", "gt_img_path": "images/a.png",
       "pred_img_path": "images/b.png", "human_errors": [ERROR], "gt_code": "<svg>a</svg>",
       "pred_code": "<svg>b</svg>", "source": "edit"}
ROWS = {  # fields changed, None: left out -> further changes in the line that Pair.row writes
    "as data.build writes it": ({}, {}),
    "a policy's own": ({"source": "infer", "policy_output": ["pred"]}, {}),
    "both ways": ({"source": "infer", "policy_output": ["gt", "pred"]}, {}),
    "no policy's": ({"policy_output": []}, {"policy_output": None}),
    "no error": ({"human_errors": []}, {}),
    "errors null": ({"human_errors": None}, {"human_errors": []}),
    "both names": ({"idx": 7}, {}),
    "a number as name": ({"id": None, "idx": 7}, {"id": "7", "idx": 7}),
    "no name": ({"id": None}, {"id": ""}),
    "no code": ({"gt_code": None, "pred_code": None}, {"gt_code": "", "pred_code": ""}),
    "no source": ({"source": None}, {"source": ""}),
    "severity as a word": ({"human_errors": [ERROR | {"severity": "medium"}]},
                           {"human_errors": [ERROR]}),
}


def changed_row(changes):
    return {key: value for key, value in (ROW | changes).items()
            if value is not None or key == "human_errors"}


def write_pairs(folder, rows, name="pairs.jsonl"):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for side, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (9, 9), color).save(folder / f"images/{side}.png")
    write_jsonl(folder / name, rows)


@pytest.mark.parametrize("name", ROWS)
def test_a_pair_written_is_the_pair_read(name, tmp_path):
    changes, in_return = ROWS[name]
    write_pairs(tmp_path / "one", [changed_row(changes)])
    [pair] = read_pairs(tmp_path / "one")
    expected = changed_row(changes | in_return)
    assert pair.row(tmp_path / "one") == expected
    assert pair.where == f"{tmp_path}/one/pairs.jsonl:1"

    (tmp_path / "two").mkdir()
    write_jsonl(tmp_path / "two/pairs.jsonl", [pair.row(tmp_path / "two")])
    [again] = read_pairs(tmp_path / "two")
    assert again.row(tmp_path / "one") == expected
    for side, other in ((pair.reference, again.reference), (pair.rendering, again.rendering)):
        assert side.path.resolve() == other.path.resolve() and side.code == other.code
        assert side.is_policy_output == other.is_policy_output
    assert (again.task, again.truth.errors, again.id) == (pair.task, pair.truth.errors, pair.id)
    assert (again.source, again.images()) == (pair.source, pair.images())


def test_a_pair_has_its_fields(tmp_path):
    write_pairs(tmp_path, [ROW | {"policy_output": ["pred"]}])
    [pair] = read_pairs(tmp_path)
    folder = tmp_path / "images"
    error = Discrepancy("shape_error", 2, "circle", "size 3%, should be 1%")
    assert (pair.task, pair.id, pair.source) == ("svg", "svg-000007-1", "edit")
    assert pair.reference == Picture(folder / "a.png", "<svg>a</svg>", False)
    assert pair.rendering == Picture(folder / "b.png", "<svg>b</svg>", True)
    assert pair.truth.errors == [error] and annotation([error]) == [ERROR]
    assert [image.getpixel((0, 0)) for image in pair.images()] == [(255, 0, 0), (0, 0, 255)]


def test_a_row_with_changes(tmp_path):
    write_pairs(tmp_path, [ROW])
    [pair] = read_pairs(tmp_path)
    changed = {"pred_code": "<svg/>", "human_errors": [], "source": "infer"}
    assert pair.row(tmp_path, **changed) == ROW | changed


NAMES = [  # fields of the name -> id, the family after the folder
    ({"id": "table-000012-0"}, "table-000012-0", "table-000012"),
    ({"id": "table-000012-1"}, "table-000012-1", "table-000012"),
    ({"id": "a"}, "a", "a"),
    ({"id": 12}, "12", "12"),
    ({"id": 0}, "0", "0"),
    ({"id": "x-1", "idx": 5}, "x-1", "x"),
    ({"idx": 5}, "5", "5"),
]


@pytest.mark.parametrize("names, identity, family", NAMES)
def test_names_and_families(names, identity, family, tmp_path):
    write_pairs(tmp_path, [{key: value for key, value in ROW.items() if key != "id"} | names])
    [pair] = read_pairs(tmp_path)
    assert (pair.id, pair.family) == (identity, f"{tmp_path}/{family}")
    assert pair.names == names | {"category": "svg"}


PLACES = [  # what is named, with {} for the folder -> ids in order
    ("{}/folder", ["pairs-1"]),
    ("{}/folder/other.jsonl", ["other-1", "other-2"]),
    ("{}/several", ["a-1", "b-1"]),
    ("{}/several,{}/folder", ["a-1", "b-1", "pairs-1"]),
    ("{}/folder/other.jsonl,{}/several/b.jsonl", ["other-1", "other-2", "b-1"]),
]
NO_PLACES = [  # what is named -> the sentence
    ("{}/none", "none is neither a .jsonl file nor a folder that holds one; data.build makes such"),
    ("{}/none.jsonl", "none.jsonl is neither a .jsonl file nor a folder"),
    ("{}/empty", "empty is neither a .jsonl file nor a folder"),
    ("{}/folder,{}/none", "none is neither"),
    ("{}/hollow.jsonl", "hollow.jsonl holds no pairs."),
]


@pytest.fixture
def places(tmp_path):
    for name, ids in (("folder/pairs", ["pairs-1"]), ("folder/other", ["other-1", "other-2"]),
                      ("several/b", ["b-1"]), ("several/a", ["a-1"])):
        path = tmp_path / f"{name}.jsonl"
        write_pairs(path.parent, [ROW | {"id": one} for one in ids], path.name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow.jsonl").write_text("\n")
    return tmp_path


@pytest.mark.parametrize("named, ids", PLACES)
def test_where_pairs_are_read_from(named, ids, places):
    assert [pair.id for pair in read_pairs(named.replace("{}", str(places)))] == ids


@pytest.mark.parametrize("named, words", NO_PLACES)
def test_places_without_pairs_get_a_sentence(named, words, places):
    with pytest.raises(InputError) as told:
        read_pairs(named.replace("{}", str(places)))
    assert words in str(told.value)


def test_pictures_may_be_looked_for_later(tmp_path):
    write_pairs(tmp_path, [ROW, ROW | {"pred_img_path": "images/none.png"}])
    with pytest.raises(InputError, match=r"pairs.jsonl:2: there is no image .*none.png\.$"):
        read_pairs(tmp_path)
    good, bad = read_pairs(tmp_path, check_images=False)
    assert len(good.images()) == 2
    with pytest.raises(InputError, match=r"pairs.jsonl:2: There is no picture .*none.png\.$"):
        bad.images()


def test_what_is_left_out_has_a_default():
    pair = Pair("svg", Picture(Path("a")), Picture(Path("b")), Verdict("svg"))
    assert (pair.id, pair.family, pair.source, pair.names, pair.where) == ("", "", "", {}, "")
    example = Example("svg", Image.new("RGB", (9, 9)), 9)
    assert (example.code, example.scene, example.id) == ("", None, "")


# --- held out ---


def make_pairs(sizes):
    """Pairs of families "0", "1", ... of so many members each; one of each family in turn."""
    pairs = []
    for member in range(max(sizes, default=0)):
        for family, size in enumerate(sizes):
            if member < size:
                pairs.append(Pair("svg", Picture(Path("a")), Picture(Path("b")), Verdict("svg"),
                                  f"{family}-{member}", str(family)))
    return pairs


@pytest.mark.parametrize("sizes, n, least, most", [
    ([1] * 20, 5, 5, 5), ([3] * 10, 7, 9, 9), ([1, 2, 3, 4, 5], 6, 6, 10), ([6] * 10, 1, 6, 6),
    ([3] * 4, 0, 0, 0), ([3] * 4, 12, 12, 12), ([3] * 4, 99, 12, 12), ([], 5, 0, 0),
])
def test_families_are_held_out_whole(sizes, n, least, most):
    pairs = make_pairs(sizes)
    for seed in range(5):
        learn, held = hold_out(pairs, n, seed)
        assert least <= len(held) <= most
        assert sorted(pair.id for pair in learn + held) == sorted(pair.id for pair in pairs)
        assert not {pair.family for pair in learn} & {pair.family for pair in held}
        assert (learn, held) == hold_out(pairs, n, seed)


def test_other_seeds_hold_out_others_and_the_order_of_the_file_does_not_matter():
    pairs = make_pairs([2] * 30)
    chosen = {tuple(sorted(pair.id for pair in hold_out(pairs, 6, seed)[1])) for seed in range(5)}
    assert len(chosen) == 5
    for seed in range(5):
        _, held = hold_out(pairs[::-1], 6, seed)
        assert tuple(sorted(pair.id for pair in held)) in chosen


# --- pictures ---


def claiming(path, width, height):
    """A PNG whose header claims a size that its pixels do not have, so that it takes no memory."""
    Image.new("L", (1, 1)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])


REFUSED = {  # width, height -> words of the sentence
    "a pixel column too many": (8001, 8000, "is 8001 x 8000; at most 64 million pixels"),
    "as Pillow warns of": (9000, 12000, "is 9000 x 12000; at most 64 million pixels"),
    "as Pillow refuses": (100_000, 100_000, "is no picture that can be read, or a much too large"),
    "wide": (151, 1, "is 151 x 1; at most 64 million pixels and a ratio of 150"),
    "high": (4, 601, "is 4 x 601; at most 64 million pixels and a ratio of 150"),
    "cut off": (100, 100, "is no picture that can be read"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_pictures_that_are_refused(name, tmp_path):
    width, height, words = REFUSED[name]
    claiming(tmp_path / "a.png", width, height)
    with pytest.raises(InputError) as told:
        load_image(tmp_path / "a.png")
    assert f"{tmp_path}/a.png {words}" in str(told.value) and str(told.value).endswith(".")


@pytest.mark.parametrize("content, words", [
    (None, "There is no picture {}."), (b"", "{} is no picture that can be read"),
    (b"words", "{} is no picture that can be read"),
    (b"\x89PNG\r\n\x1a\n", "{} is no picture that can be read")])
def test_files_that_are_no_pictures(content, words, tmp_path):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as told:
        load_image(path)
    assert str(told.value).startswith(words.format(path))
    with pytest.raises(InputError, match="There is no picture"):
        load_image(tmp_path)


@pytest.mark.parametrize("size, shown", [
    ((9, 9), (9, 9)), ((150, 1), (150, 1)), ((4, 600), (4, 600)), ((1024, 1024), (1024, 1024)),
    ((2048, 1024), (1024, 512)), ((1000, 3000), (341, 1024)), ((8000, 60), (1024, 8)),
])
def test_pictures_are_shrunk_to_1024_pixels(size, shown, tmp_path):
    Image.new("L", size, 128).save(tmp_path / "a.png")
    image = load_image(str(tmp_path / "a.png"))
    assert (image.size, image.mode) == (shown, "RGB") and image.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("turned, corner", [
    (None, (0, 0)), (1, (0, 0)), (2, (5, 0)), (3, (5, 2)), (6, (2, 0)), (8, (0, 5))])
def test_photos_are_turned_upright(turned, corner, tmp_path):
    """EXIF's orientation, as phones write it: where the first stored pixel is to be shown."""
    image, exif = Image.new("RGB", (6, 3), "white"), Image.Exif()
    image.putpixel((0, 0), (255, 0, 0))
    if turned:
        exif[0x0112] = turned
    image.save(tmp_path / "a.png", exif=exif)
    shown = load_image(tmp_path / "a.png")
    assert shown.size == ((3, 6) if turned in (6, 8) else (6, 3))
    assert shown.getpixel(corner) == (255, 0, 0)


@pytest.mark.parametrize("mode, color, ending, shown", [
    ("I;16", 0x8040, "png", (128, 128, 128)), ("I;16", 0xFFFF, "tiff", (255, 255, 255)),
    ("RGB", "red", "png", (255, 0, 0)), ("RGBA", (255, 0, 0, 0), "png", (255, 255, 255)),
    ("RGBA", (255, 0, 0, 255), "png", (255, 0, 0)), ("LA", (0, 0), "png", (255, 255, 255)),
    ("RGBA", (0, 0, 0, 51), "png", (204, 204, 204)), ("1", 0, "png", (0, 0, 0)),
    ("P", 0, "gif", (0, 0, 0)), ("CMYK", (0, 0, 0, 0), "tiff", (255, 255, 255)),
])
def test_pictures_are_rgb_on_white(mode, color, ending, shown, tmp_path):
    Image.new(mode, (5, 5), color).save(tmp_path / f"a.{ending}")
    image = load_image(tmp_path / f"a.{ending}")
    assert (image.mode, image.getpixel((2, 2))) == ("RGB", shown)
