import os

import pytest
from sqlalchemy import update

from batteries.splits import MIN_CYCLES, OPENING
from flows import judges
from store import recordings
from store.session import transaction
from store.tables import Battery, CycleRow


@pytest.fixture
def said():
    return []


@pytest.fixture
def named(said):
    """Names of the cells that may judge, without their order."""
    return lambda: {cell.names for cell in judges.cells(said.append)}


def damage(home, battery_id, how):
    path = recordings.path_of(home.data, battery_id)
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, {"cut off": path.stat().st_size // 2, "empty": 0}[how])


class TestCells:
    def test_are_those_whose_health_can_be_known_by_features_of_now(self, battery, named):
        known, unlabelled, stale = (battery(seed=seed) for seed in (1, 2, 3))
        battery(seed=4, first=MIN_CYCLES - 1)
        with transaction() as rows:
            rows.execute(update(Battery).where(Battery.id == unlabelled).values(nominal_capacity=None))
            rows.execute(update(Battery).where(Battery.id == stale).values(feature_version=-1))
        assert named() == {frozenset([f"battery {known}"])}

    def test_records_that_begin_alike_are_one_cell_told_by_the_longest(self, battery, said):
        early, late, again = battery(seed=1, first=30), battery(seed=1), battery(seed=1)
        other = battery(seed=2)
        same, alone = sorted(judges.cells(said.append), key=lambda cell: -len(cell.names))
        assert same.names == {f"battery {battery_id}" for battery_id in (early, late, again)}
        assert (same.read().cell, len(same.read())) == (f"battery {late}", 60)
        assert alone.names == {f"battery {other}"}

    def test_cells_of_whose_first_cycles_nothing_is_known_are_not_the_same(self, battery, named):
        both = battery(seed=1), battery(seed=2)
        with transaction() as rows:
            rows.execute(update(CycleRow).values(capacity_ah=None).where(CycleRow.position < OPENING))
        assert named() == {frozenset([f"battery {battery_id}"]) for battery_id in both}

    @pytest.mark.parametrize("how", ["gone", "cut off", "empty"])
    def test_one_that_cannot_be_read_judges_nothing_and_is_named(self, how, home, battery, said):
        broken = battery(seed=1)
        damage(home, broken, how)
        [cell] = judges.cells(said.append)
        assert cell.read() is None
        assert len(said) == 1
        assert f"Battery {broken} cannot be read and judges no model" in said[0]
