"""What stands in cells besides text, and around tables: images, lines, painted areas,
paragraphs."""

from data.compare.colors import color_distance, color_name
from data.compare.ledger import COLOR, Ledger
from data.compare.table_groups import LOOKS, differ, say
from data.compare.table_looks import Looks
from data.compare.words import check_text, plain, shorten

BESIDE, BETWEEN = 15, 20        # px that text and images may be moved across and down
SHAPES = {"image": "image", "area": "painted area", "line": "line", "ground": "painted ground"}


def compare_marks(ledger: Ledger, place: str, ours: list[dict], theirs: list[dict],
                  fixed: bool) -> None:
    """Enter images, rules and painted areas of one place. fixed: the text around them is the
    same."""
    rest = list(theirs)
    for a in ours:
        same = [b for b in rest if b["kind"] == a["kind"]]
        b = min(same, key=lambda b: _mark_distance(a, b), default=None)
        if b is None:
            ledger.cost("layout", 0)
            ledger.tell(
                "layout_error",
                2 if a["kind"] == "image" else 1,
                place,
                f"{SHAPES[a['kind']]} missing",
            )
            continue
        rest.remove(b)
        told = _mark_difference(a, b, fixed)
        if told:
            ledger.cost("layout", 0.5)
            ledger.tell("layout_error", 1, place, f"{SHAPES[a['kind']]} {told}")
        else:
            ledger.agree("layout")
    for b in rest:
        ledger.cost("layout", 0)
        ledger.tell(
            "layout_error", 2 if b["kind"] == "image" else 1, place, f"{SHAPES[b['kind']]} extra"
        )


def _mark_distance(a, b):
    return sum(abs(x - y) for x, y in zip(a["box"], b["box"])) + 0.2 * _paint_distance(a, b)


def _paint_distance(a, b):
    ours, theirs = (a["color"] or "").split(), (b["color"] or "").split()
    if len(ours) != len(theirs):
        return 100.0
    return max((color_distance(x, y) for x, y in zip(ours, theirs)), default=0.0)


def _mark_difference(a, b, fixed):
    (x, y, w, h), (x2, y2, w2, h2) = a["box"], b["box"]
    if a["kind"] == "ground":
        w2, h2, fixed = w, h, False                         # as large as what stands on it
    if max(abs(w - w2) - 0.15 * w, abs(h - h2) - 0.15 * h) > 2:
        return f"{w2} x {h2} px, should be {w} x {h}"
    if _paint_distance(a, b) > (12 if a["kind"] == "image" else COLOR[0]):
        return (
            "looks different"
            if a["kind"] == "image"
            else f"{color_name(b['color'])}, should be {color_name(a['color'])}"
        )
    if fixed and max(abs(x - x2), abs(y - y2)) > 8:
        return "moved"
    return ""


def compare_outside(looks: Looks, in_place: bool) -> None:
    """Enter the text and the marks outside of tables. in_place: the tables are the same, in the
    same order."""
    (true, pred), ledger = looks.scenes, looks.ledger
    ours, theirs = true.get("around") or {}, pred.get("around") or {}
    expected, found = plain(true["outside"]), plain(pred["outside"])
    if found == expected:
        if found:
            ledger.agree("content")
    elif not found or not expected:
        ledger.differ(
            "content", 0, "text_error", 2, "text outside", "extra" if found else "missing"
        )
    else:
        check_text(ledger, "content", "text_error", "text outside", found, expected, clean=plain)
    if differ("background", pred.get("ground"), true.get("ground")):
        looks.tell("page", say(color_name, pred.get("ground"), true.get("ground")))
    same = expected == found
    if expected and found:
        runs = ours.get("runs", []), theirs.get("runs", [])
        for key, value, right in looks.letters(runs, same, lambda part, text: looks.tell(
                "text outside", f"'{shorten(part)}' {text}")):
            looks.tell("text outside", say(LOOKS[key], value, right))
    if same and in_place:
        _compare_lines(looks, ours.get("lines", []), theirs.get("lines", []))
    compare_marks(
        ledger, "outside", ours.get("marks", []), theirs.get("marks", []), same and in_place
    )


def _compare_lines(looks, ours, theirs):
    """The lines of the same text outside: how many, beside which table, how far apart."""
    if len(ours) != len(theirs):
        looks.tell(
            "text outside", f"{len(theirs)} line{'s' * (len(theirs) > 1)}, should be {len(ours)}"
        )
        return
    before = None
    for k, (a, b) in enumerate(zip(ours, theirs)):
        if a["letters"] != b["letters"]:
            looks.tell("text outside", "lines break elsewhere")
            return
        if a["above"] != b["above"]:
            looks.ledger.cost("layout", 0.3)
            looks.ledger.tell(
                "layout_error",
                2,
                "text outside",
                f"line {k + 1} below {b['above']} table"
                f"{'s' * (b['above'] != 1)}, should be below {a['above']}",
            )
            return
        if abs(a["x"] - b["x"]) > BESIDE:
            looks.tell(
                "text outside", f"line {k + 1} moved {'left' if b['x'] < a['x'] else 'right'}"
            )
            return
        if before and before[0]["above"] == a["above"]:
            gaps = a["y"] - before[0]["y"], b["y"] - before[1]["y"]
            if abs(gaps[0] - gaps[1]) > BETWEEN:
                looks.tell(
                    "text outside", f"line {k + 1} moved {'up' if gaps[1] < gaps[0] else 'down'}"
                )
                return
        before = a, b
