"""The three renderers, their sandbox and the processes that draw; `render.py` is their door."""
import importlib
from collections.abc import Callable
from typing import Any

from PIL import Image

from data.renderers.scene import RenderError, short, use_own_fonts


def draw(task: str, code: str,
         size: int | tuple[int, int] | None = None) -> tuple[Image.Image, dict]:
    """Draw in this process: (PIL.Image, scene). No sandbox: for workers and tests only."""
    use_own_fonts()
    renderer = importlib.import_module(f"data.renderers.{task}")
    return drawn_or_error(getattr(renderer, f"draw_{task}"), code, size)


def drawn_or_error(function: Callable, *args: object) -> Any:
    """The result of a function that draws; whatever it raises becomes a RenderError."""
    try:
        return function(*args)
    except (RenderError, MemoryError):
        raise
    except RecursionError:
        raise RenderError("too_large", "it is nested too deeply") from None
    except Exception as error:
        raise RenderError("runtime", "it could not be drawn: "
                          f"{type(error).__name__}: {short(error)}") from error
