"""No cycle is on two sides; what is known at training time is what could be known then."""

from dataclasses import replace

import numpy as np
import pytest

from batteries.splits import UnusableData, known_by, split
from batteries.windows import History, Windows


def cell(name: str, n: int = 100, *, fade: float = 0.003, seed: int | None = None) -> History:
    """SoH falls by `fade` a cycle from 1; RUL to 0.8 is known where the record gets there."""
    rows = np.arange(n, dtype=float)
    soh = 1 - fade * rows
    below = np.flatnonzero(soh < 0.8)
    rul = np.maximum(below[0] - rows, 0) if len(below) else np.full(n, np.nan)
    noise = np.random.default_rng(sum(map(ord, name)) if seed is None else seed).normal(size=(n, 2))
    nominal_ah = 1 + 0.001 * (sum(map(ord, name)) if seed is None else seed)
    return History(name, rows, noise, soh, rul, nominal_ah, None)


def seen(windows: Windows) -> set[tuple[int, int]]:
    """Every (cell, cycle) that any step of any window shows."""
    return {
        (int(number), int(index))
        for number, mask, indices in zip(windows.cell, windows.mask, windows.cycle_index, strict=True)
        for index in indices[mask]
    }


class TestSeveralCells:
    @pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 20])
    def test_no_cycle_is_seen_on_two_sides(self, count):
        parts = split([cell(f"c{i}") for i in range(count)], 16, networks=3)
        for network in range(len(parts.withheld)):
            train, validation = (
                seen(windows[rows])
                for windows, rows in (
                    (parts.train, parts.teaches(network)),
                    (parts.validation, parts.validates(network)),
                )
            )
            test = seen(parts.test)
            assert train
            assert validation
            assert test
            assert len(train | validation | test) == len(train) + len(validation) + len(test)

    @pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 20])
    def test_test_cells_are_in_no_other_role(self, count):
        parts = split([cell(f"c{i}") for i in range(count)], 16)
        assert not parts.by_time
        assert not set(parts.test_cells) & {*parts.train_cells, *parts.validation_cells}
        assert {*parts.train_cells, *parts.validation_cells, *parts.test_cells} == {f"c{i}" for i in range(count)}

    @pytest.mark.parametrize(("count", "sizes"), [(5, (4, 1, 1)), (10, (8, 2, 2)), (20, (17, 3, 3))])
    def test_from_five_on_whole_cells_validate_and_are_among_those_that_teach(self, count, sizes):
        parts = split([cell(f"c{i}") for i in range(count)], 16)
        assert (len(parts.train_cells), len(parts.validation_cells), len(parts.test_cells)) == sizes
        assert {int(name[1:]) for name in parts.train_cells} == set(parts.train.cell.tolist())
        assert set(parts.validation_cells) < set(parts.train_cells)
        assert parts.withheld == (tuple(sorted(int(name[1:]) for name in parts.validation_cells)),)

    @pytest.mark.parametrize("networks", [2, 3, 6])
    def test_each_network_leaves_out_cells_of_its_own_and_every_cell_teaches(self, networks):
        parts = split([cell(f"c{i}") for i in range(7)], 16, networks=networks)  # one of them judges
        assert len(parts.withheld) == parts.networks == networks
        left_out = [number for withheld in parts.withheld for number in withheld]
        assert len(left_out) == len(set(left_out)) == networks
        assert len(parts.train_cells) == 6
        for network, withheld in enumerate(parts.withheld):
            taught = set(parts.train.cell[parts.teaches(network)].tolist())
            assert not taught & set(withheld)
            assert len(taught) == 5

    def test_below_five_one_network_more_a_cell_rehearses_without_it(self):
        parts = split([cell(f"c{i}") for i in range(4)], 16, networks=2)
        assert parts.networks == 2
        assert parts.withheld[:2] == ((), ())
        assert parts.withheld[2:] == tuple((int(name[1:]),) for name in parts.train_cells)

    @pytest.mark.parametrize("count", [3, 8])
    def test_the_cells_named_judge_and_no_others(self, count):
        parts = split([cell(f"c{i}") for i in range(count)], 8, test_cells=["c1"], networks=2)
        assert parts.test_cells == ("c1",)
        assert set(parts.test.cell) == {1}
        assert 1 not in parts.train.cell
        assert 1 not in parts.validation.cell

    def test_a_cell_named_judges_however_short_its_record(self):
        parts = split([cell("a"), cell("b"), cell("short", 5)], 8, test_cells=["short"])
        assert (parts.test_cells, parts.train_cells) == (("short",), ("a", "b"))
        assert set(parts.train.cell) == {0, 1}

    def test_that_all_cells_judge_is_refused(self):
        with pytest.raises(UnusableData, match="2 of 2 batteries are to judge"):
            split([cell("a"), cell("b")], 8, test_cells=["a", "b"])

    def test_below_five_a_stretch_of_each_teaching_cell_validates(self):
        parts = split([cell(f"c{i}") for i in range(3)], 4)
        assert parts.validation_cells == parts.train_cells
        assert len(parts.test_cells) == 1
        assert parts.withheld == ((), *((int(name[1:]),) for name in parts.train_cells))
        assert parts.networks == 1
        # cycles 60 … 74 are the stretch; the first 3 are only looked back on, and so are none after it but a gap of 3
        teacher = parts.train.cell[0]
        asked = parts.validation.cycle_index[parts.validation.cell == teacher, -1]
        np.testing.assert_array_equal(asked, np.arange(63, 75))
        taught = sorted(index for number, index in seen(parts.train) if number == teacher)
        assert taught == [*range(60), *range(78, 100)]

    def test_cells_that_outlived_their_records_are_known_to_have_lived_that_long(self):
        parts = split([cell(f"c{i}", fade=0.0001) for i in range(3)], 4)
        for windows in (parts.train, parts.validation, parts.test):
            np.testing.assert_array_equal(windows.rul_lower_bound, 99 - windows.cycle_index[:, -1])

    def test_the_order_of_the_cells_does_not_matter_and_the_seed_does(self):
        cells = [cell(f"c{i}") for i in range(6)]
        assert split(cells, 8).test_cells == split(cells[::-1], 8).test_cells
        assert len({split(cells, 8, seed=seed).test_cells for seed in range(10)}) > 1

    def test_a_file_imported_twice_is_one_cell(self):
        parts = split([cell("a"), cell("b"), cell("a again", seed=ord("a"))], 8)
        assert parts.left_out == ("a again: begins with the same cycles as a",)
        assert "a again" not in {*parts.train_cells, *parts.validation_cells, *parts.test_cells}

    def test_a_file_imported_twice_with_another_nominal_capacity_is_one_cell(self):
        a = cell("a")
        again = replace(a, cell="again", features=a.features * 1.1, soh=a.soh * a.nominal_capacity_ah)
        parts = split([a, cell("b"), replace(again, nominal_capacity_ah=1.0)], 8)
        assert parts.left_out == ("again: begins with the same cycles as a",)

    def test_a_file_that_has_grown_is_one_cell_and_the_longer_record_counts(self):
        a = cell("a")
        early = replace(
            a, cell="early", cycle_index=a.cycle_index[:40], features=a.features[:40], soh=a.soh[:40], rul=a.rul[:40]
        )
        parts = split([early, cell("b"), a], 8)
        assert parts.left_out == ("early: begins with the same cycles as a",)
        assert "a" in {*parts.train_cells, *parts.validation_cells, *parts.test_cells}

    def test_a_short_record_teaches_but_judges_nothing(self):
        parts = split([cell("a"), cell("b"), cell("short", 5)], 8)
        assert "short" in parts.train_cells
        assert 2 in parts.train.cell
        assert 2 not in parts.test.cell

    def test_a_cell_without_health_is_left_out_and_named(self):
        blind = History("blind", np.arange(50), np.ones((50, 2)), np.full(50, np.nan), np.full(50, np.nan))
        parts = split([cell("a"), blind], 8)
        assert parts.left_out[0].startswith("blind: 0 of its 50 cycles have features and a known state of health")
        assert parts.by_time


class TestOneCell:
    @pytest.mark.parametrize("n", [12, 15, 20, 37, 100, 1000])
    def test_is_split_in_time_with_a_window_between(self, n):
        parts = split([cell("a", n)], 16)
        train, validation, test = (sorted(i for _, i in seen(p)) for p in (parts.train, parts.validation, parts.test))
        assert parts.by_time
        assert train[-1] < validation[0]
        assert validation[-1] < test[0]
        # between the last cycle that teaches and the first that is asked about there is a window's length
        assert parts.validation.cycle_index[0, -1] - train[-1] == parts.length + 1
        assert test[-1] == n - 1

    def test_of_100_cycles_70_teach_and_the_window_shrinks_to_half_a_stretch(self):
        parts = split([cell("a")], 16)
        assert len(parts.train) == 70
        assert parts.length == 7
        np.testing.assert_array_equal(parts.validation.cycle_index[:, -1], np.arange(77, 85))
        np.testing.assert_array_equal(parts.test.cycle_index[:, -1], np.arange(92, 100))

    @pytest.mark.parametrize("n", [1, 11])
    def test_too_short_is_refused_by_name(self, n):
        with pytest.raises(UnusableData, match=f"a: {n} of its {n} cycles .* at least 12 are needed"):
            split([cell("a", n)], 16)

    def test_nothing_is_refused(self):
        with pytest.raises(UnusableData, match="no battery"):
            split([], 16)

    def test_health_known_only_early_is_refused(self):
        whole = cell("a")
        soh = np.where(np.arange(100) < 50, whole.soh, np.nan)
        early = History("a", whole.cycle_index, whole.features, soh, np.full(100, np.nan))
        with pytest.raises(UnusableData, match="a: no cycle of its validation stretch"):
            split([early], 8)


class TestKnownBy:
    def test_an_end_that_came_later_is_told_from_the_trend_alone(self):
        # SoH = 1 - 0.003 i falls to 0.8 at i = 66.67, after the 50 cycles that are known; later life is bent to be sure
        whole = cell("a")
        bent = np.where(np.arange(100) < 50, whole.soh, 0.5)
        early = known_by(History("a", whole.cycle_index, whole.features, bent, 50.0 - np.arange(100)), 50, 0.8)
        np.testing.assert_allclose(early.rul, 0.2 / 0.003 - np.arange(50), rtol=1e-9)

    def test_an_end_that_came_before_is_kept(self):
        whole = cell("a")
        np.testing.assert_array_equal(known_by(whole, 80, 0.8).rul, whole.rul[:80])

    def test_a_recovery_that_came_later_does_not_put_the_end_off(self):
        whole = cell("a")
        recovered = np.array(whole.soh)
        recovered[95] = 0.81
        later = replace(whole, soh=recovered, rul=np.maximum(96.0 - np.arange(100), 0))
        np.testing.assert_array_equal(known_by(later, 80, 0.8).rul, known_by(whole, 80, 0.8).rul)

    def test_without_fade_nothing_is_known(self):
        assert np.isnan(known_by(cell("a", fade=0.0), 70, 0.8).rul).all()

    def test_a_trend_is_not_trusted_far_ahead(self):
        # 0.2 / 0.0005 = 400 cycles, more than 3 lives of 70 past the 70 seen
        assert np.isnan(known_by(cell("a", fade=0.0005), 70, 0.8).rul).all()
