"""A scene that passes the door can be compared: never an exception, never a score out of bounds.

Scenes come from programs that may have been written to break the comparison. Sound ones are
changed in a few random places; what the schema still takes is compared, in both directions.
"""
import json
import random
from pathlib import Path

import pytest

from data import worlds
from data.compare import compare, fidelity
from data.renderers.scene import scene_fault
from render import Rendering, render_many

FIELD = Path(__file__).parent
VALUES = (0, -1, 1, 2, 3, 0.5, 1e99, -1e99, 1e-99, 100_000, 1_000_000, "", "x", "#ff0000", "bars",
          "line", "$x^2$", "\ud800", None, True, False, [], [0.0], {})


def places(value):
    """(holder, key) of everything in a scene."""
    for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from places(part)


def forged(scene, rng):
    """A copy with 1 to 10 changes: other values, items that go or come twice, parts exchanged."""
    scene = json.loads(json.dumps(scene))
    for _ in range(rng.choice((1, 1, 2, 4, 10))):
        found = list(places(scene))
        holder, key = rng.choice(found)
        value = holder[key]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        change = rng.choice(("value", "number", "delete", "twice", "other"))
        if change == "number" and number:
            holder[key] = rng.choice((value * 1e6, -value, value * 1.1, value + 1, 0))
        elif change == "delete" and isinstance(holder, list):
            del holder[key]
        elif change == "twice" and isinstance(holder, list):
            holder.insert(key, json.loads(json.dumps(value)))
        elif change == "other":
            other, name = rng.choice(found)
            if name in range(len(other)) if isinstance(other, list) else name in other:
                holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = rng.choice(VALUES)
    return scene


@pytest.mark.parametrize("task", worlds.TASKS)
def test_what_passes_the_door_can_be_compared(task):
    rng = random.Random(task)
    lines = (FIELD / f"field_{task}.jsonl").read_text().splitlines()
    codes = [worlds.draw(task, level, rng) for level in (1, 2, 3) for _ in range(2)]
    codes += [json.loads(line)["a"] for line in rng.sample(lines, 12)]
    drawn = render_many([(task, code) for code in codes], size=160)
    scenes = [one.scene for one in drawn if isinstance(one, Rendering)]
    passed = 0
    for _ in range(400):
        true = rng.choice(scenes)
        pred = forged(true, rng)
        if scene_fault(pred) is not None:
            continue
        passed += 1
        for pair in ((true, pred), (pred, rng.choice(scenes))):
            errors, score = compare(*pair), fidelity(*pair)
            assert (score == 100) == (not errors) and 0 <= score <= 100
            json.dumps([vars(error) for error in errors])
    assert passed > 20
