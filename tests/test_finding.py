"""data.experiments.finding: the figures of an ablation, from scores that are known."""
from collections import Counter

import numpy as np
import pytest
import torch

from data.experiments.finding import (
    FIGURES,
    Settings,
    collect,
    gain,
    interval,
    name_of,
    plot,
    read_scores,
    rewards_of,
    settings_of,
    table,
    words_f1,
    write_scores,
)
from data.experiments.hacking import worst_hacked
from data.verdict import InputError


def scores(**rewards):
    """Icons: {reward: [fidelity of both pictures, for each seed]}; all else follows from these."""
    made = {}
    for reward, seeds in rewards.items():
        for seed, fidelities in enumerate(seeds):
            sampled = np.array(fidelities, float)
            rows = [sampled, sampled / 2, 0 * sampled + 100, sampled + 1, sampled, sampled * np.nan]
            made["svg", reward, seed] = np.stack(rows, axis=1)
    return made


def test_differences_are_paired_by_seed_and_picture():
    """Every picture and seed is 4 better: their own spread must not widen the difference."""
    verm = [[90, 10], [70, 50], [30, 30]]
    text = [[value - 4 for value in seed] for seed in verm[:2]]  # a seed that only verm has
    label = [[value + 6 for value in seed] for seed in verm]
    lines = table(scores(base=[[30, 22]], verm=verm, text=text, label=label), "svg",
                  "verm").splitlines()
    cells = {line.split(" | ")[0].strip("| "): [cell.strip(" |") for cell in line.split(" | ")]
             for line in lines[2:]}
    assert lines[0].startswith("| svg | seeds | " + " | ".join(FIGURES))
    assert cells["text"][1] == "2" and cells["text"][2].startswith("51.0 [")
    assert cells["text"][8:10] == ["+4.0 [+4.0, +4.0]", "+2.0 [+2.0, +2.0]"]
    assert cells["label"][8:10] == ["-6.0 [-6.0, -6.0]", "-3.0 [-3.0, -3.0]"]
    # the base has 26.0, verm 46.7, label 52.7
    assert [cells[name][10] for name in ("verm", "label")] == ["78 %", "100 %"]
    assert cells["base"][10] == "" and cells["verm"][7] == "-"  # nobody read these pictures
    low, high = map(float, cells["base"][8].split("[")[1].strip("]").split(", "))
    assert low < 46.67 - 26 < high


@pytest.mark.parametrize("values, spread", [
    (np.full((5, 60), 3.0), 0.0), (np.repeat([[0.0], [100.0]], 60, axis=1), 50.0),
    (np.repeat([[0.0, 100.0]], 5, axis=0), 50.0)])
def test_intervals_see_seeds_and_pictures(values, spread):
    mean, low, high = interval(values)
    assert (mean - low, high - mean) == pytest.approx((spread, spread))


@pytest.mark.parametrize("true, pred, f1", [
    ("Sales 10 10", "10 Sales 10", 1.0), ("Sales 10 10", "Sales 10", 0.8), ("", "", 1.0),
    ("a", "", 0.0), ("a b", "c d", 0.0)])
def test_words_that_were_read(true, pred, f1):
    assert words_f1(Counter(true.split()), Counter(pred.split())) == pytest.approx(f1)


def test_a_folder_without_runs_is_refused(tmp_path):
    (tmp_path / "svg-verm-0").mkdir()  # not finished: no checkpoint
    with pytest.raises(InputError, match="holds no finished run"):
        collect(tmp_path, Settings())


def test_the_best_reward_stands_first():
    made = scores(base=[[30, 22]], text=[[40, 40]], verm=[[50, 50]])
    assert rewards_of(made, "svg") == ["base", "verm", "text"]
    assert gain(made, "svg", "verm")[0] == 24


def test_figures_come_back_from_their_file(tmp_path):
    made = scores(base=[[30, 22]], verm=[[90, 10], [70, 50]])
    write_scores(str(tmp_path / "all.csv"), made)
    again = read_scores(tmp_path / "all.csv")
    assert table(again, "svg", "verm") == table(made, "svg", "verm")
    (tmp_path / "all.csv").write_text("task,reward\nsvg,verm\n")
    with pytest.raises(InputError, match="no rows with the columns"):
        read_scores(tmp_path / "all.csv")


def test_what_orders_better_is_plotted_beside_what_it_taught(tmp_path):
    order = [{"task": "svg", "style": style, "picture": "0", "fidelity": fidelity, "ssim": ssim,
              "data/tiny/judge": judge} for style, fidelity, ssim, judge in
             (("1", "10", "1", "0"), ("1", "20", "0", "1"), ("0", "20", "9", "9"))]
    made = scores(base=[[30, 22]], verm=[[90, 10]], ssim=[[40, 40]], unknown=[[1, 1]])
    plot(made, order, str(tmp_path / "plot.png"))
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_the_worst_hacked_picture_of_each_reward(tmp_path):
    """Fidelity fell by 50 and the reward rose; what fell by 60 earned less; another run by 20."""
    before = [("a", 1.2, 100.0), ("b", 1.8, 100.0), ("c", 1.0, 40.0)]
    after = [("d", 1.5, 50.0), ("e", 1.7, 40.0), ("f", 1.9, 90.0)]
    for name, stages in (("x", {0: before, 20: after}), ("y", {0: before[:1],
                                                              10: [("g", 1.3, 80.0)]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"reward": "ssim", "task": "table"}')
        torch.save({"stages": stages}, tmp_path / name / "state.pt")
    (found,) = worst_hacked(tmp_path, ["table"])
    assert str(found) == "ssim: table 1, seed 0: reward 1.200 -> 1.500, fidelity 100 -> 50"
    assert worst_hacked(tmp_path, ["svg"]) == []
    assert name_of(settings_of(tmp_path / "x")) == "ssim"
