from __future__ import annotations

import json
import math
import os
import random
import time

import pytest

from bench.cpu import group_cpu_s
from bench.figures import Figure, table, tell, tell_samples
from bench.sampling import PairedDifference, quantile, student_t

# Table of the one-sided 95 % points: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
PUBLISHED = {1: 6.314, 2: 2.920, 9: 1.833, 19: 1.729, 29: 1.699, 100: 1.660}


@pytest.mark.parametrize("degrees", PUBLISHED)
def test_student_t_is_the_published_table(degrees: int) -> None:
    assert student_t(0.95, degrees) == pytest.approx(PUBLISHED[degrees], abs=5e-4)


def test_a_quantile_is_a_sample_and_never_below_its_rank() -> None:
    samples = [float(value) for value in range(1, 101)]
    samples = samples[60:] + samples[:60]
    assert [quantile(samples, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="no quantile"):
        quantile([], 0.5)


def test_the_paired_difference_is_with_minus_without() -> None:
    found = PairedDifference.of([(1.0, 2.0), (1.0, 4.0), (1.0, 3.0)])
    assert found.pairs == 3
    assert found.mean == pytest.approx(2.0)
    assert found.deviation == pytest.approx(1.0)
    assert found.upper == pytest.approx(2.0 + PUBLISHED[2] / math.sqrt(3), abs=1e-3)
    with pytest.raises(ValueError, match="two pairs"):
        PairedDifference.of([(1.0, 2.0)])


def test_the_upper_bound_holds_as_often_as_it_says() -> None:
    rng = random.Random(2)  # noqa: S311 - noise, not secrets
    truth, held, rounds = 0.3, 0, 400
    for _ in range(rounds):
        shared = [rng.gauss(10.0, 3.0) for _ in range(10)]
        pairs = [(level + rng.gauss(0.0, 0.5), level + rng.gauss(truth, 0.5)) for level in shared]
        held += PairedDifference.of(pairs).upper >= truth
    assert 0.92 < held / rounds < 0.98


def test_a_figure_is_a_json_line_that_says_whether_the_target_was_reached(capsys: pytest.CaptureFixture[str]) -> None:
    tell("missed", 2.0, "s", 1, target=1.5)
    tell_samples("met", [0.1, 0.2, 0.3], "s", 0.5, target=0.2)
    tell("open", 1.0, "s", 1)
    lines = capsys.readouterr().out.splitlines()
    figures = [Figure.parse(line) for line in lines]
    assert [figure and figure.reached for figure in figures] == [False, True, None]
    assert json.loads(lines[1])["p99"] == 0.3
    assert Figure.parse("not a figure") is None
    rows = table([figure for figure in figures if figure]).splitlines()
    assert "NO" in rows[2]
    assert "yes" in rows[3]


def test_cpu_time_of_a_group_counts_this_process() -> None:
    before, own = group_cpu_s(os.getpgrp()), time.process_time()
    while time.process_time() - own < 0.2:
        pass
    assert group_cpu_s(os.getpgrp()) - before > 0.15


def test_a_figure_that_should_be_large_is_missed_below_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    tell("slow", 4.0, "M/s", 1, least=5.0)
    tell("fast", 6.0, "M/s", 1, least=5.0)
    slow, fast = (Figure.parse(line) for line in capsys.readouterr().out.splitlines())
    assert slow is not None
    assert fast is not None
    assert (slow.reached, fast.reached) == (False, True)
    assert ">= 5" in table([slow])
    assert "<= 5" not in table([slow])
