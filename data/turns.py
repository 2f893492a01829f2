"""What is said about a draft, so that it can be revised (Eq. 8): in refine.py and `--turns 2`.

`train_rl.py --turns 2` trains draft, verdict and revision as one episode. Turn 1: P pictures with
G drafts each. Turn 2: one revision of each draft, asked with `revise_messages` and the verdict on
that draft. An episode is worth what its revision earns (Eq. 3-5 over the batch's revisions): the
revision is the answer, so a draft that is easy to correct may be as good as a better one. Paying
the better of both instead would pay a revision that spoils its draft. All tokens of both turns get
the advantage of the episode among the G episodes of its picture. Every draft is revised, also one
in which the judge finds nothing (figures in data/README.md).
"""
from data.pairs import Example
from data.verdict import Verdict
from render import RenderError, Rendering


def words_of(verdict: Verdict) -> str:
    """A verdict as feedback: its JSON, or what the judge said if that was no verdict."""
    return verdict.to_json() if verdict.readable else verdict.raw or "no answer"


def not_drawn(error: RenderError) -> str:
    """The feedback on code that does not render: the renderer's sentence."""
    return f"It cannot be drawn: {error}"


class Answered:
    """A judge that has answered: it gives its verdicts again, so that a reward asks no more."""

    def __init__(self, verdicts: list[Verdict]):
        self.verdicts = verdicts

    def judge(self, pairs: list) -> list[Verdict]:
        """The verdicts, for the same pairs."""
        assert len(pairs) == len(self.verdicts)
        return self.verdicts


def feedback(examples: list[Example], renderings: list, judge) -> tuple[list[str], Answered]:
    """(what is said about each draft, the judge's verdicts on those that rendered)."""
    drawn = [i for i, one in enumerate(renderings) if isinstance(one, Rendering)]
    verdicts = judge.judge([(examples[i].task, examples[i].image, renderings[i].image)
                            for i in drawn])
    said = dict(zip(drawn, map(words_of, verdicts)))
    words = [said[i] if i in said else not_drawn(one) for i, one in enumerate(renderings)]
    return words, Answered(verdicts)
