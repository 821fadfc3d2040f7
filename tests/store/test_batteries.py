from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from store import batteries, data_versions
from store.session import reading, selecting, transaction
from store.tables import Battery, CycleRow, utc_now

pytestmark = pytest.mark.usefixtures("database")


def add(cycle_indices: list[int] | None = None, **changes) -> Battery:
    indices = cycle_indices or [1]
    facts = {"filename": "x.mat", "sha256": "0" * 64, "size_bytes": 1, "import_report": {}, "feature_version": 1}
    with transaction() as session:
        battery = Battery(**(facts | {"total_cycles": len(indices)} | changes))
        session.add(battery)
        session.flush()
        session.add_all(
            CycleRow(battery_id=battery.id, position=position, cycle_index=index)
            for position, index in enumerate(indices)
        )
    return battery


class TestListing:
    def test_filters_by_manufacturer_without_case(self):
        ids = [add(manufacturer=name).id for name in ("A123", "a123", "Sony", None)]
        with reading() as session:
            assert [b.id for b in session.scalars(batteries.listing(" A123 "))] == ids[:2]
            assert [b.id for b in session.scalars(batteries.listing())] == ids


class TestMissing:
    def test_names_unknown_ids_once_in_order(self):
        known = add().id
        with reading() as session:
            assert batteries.missing(session, [99, known, 98, 99]) == [99, 98]


class TestCycles:
    def read(self, battery: Battery, **span) -> list[int]:
        with selecting() as connection:
            rows = batteries.cycles(connection, battery.id, ("position", "cycle_index"), batteries.Span(**span)).all()
        return [row.cycle_index for row in rows]

    def test_a_page_lies_where_it_was_asked_for(self):
        battery = add([10, 20, 30, 40, 50])
        assert self.read(battery, start=2, stop=4) == [30, 40]
        assert self.read(battery, start=6, stop=8) == []
        assert self.read(battery) == [10, 20, 30, 40, 50]

    def test_a_cycle_number_may_occur_twice_or_never(self):
        battery = add([7, 8, 7])
        assert self.read(battery, cycle_index=7) == [7, 7]
        assert self.read(battery, cycle_index=7, start=1, stop=3) == [7]
        assert self.read(battery, cycle_index=7, start=2, stop=4) == []
        assert self.read(battery, cycle_index=9) == []
        with selecting() as connection:
            assert [batteries.count_of_index(connection, battery.id, number) for number in (7, 8, 9)] == [2, 1, 0]

    def test_other_batteries_cycles_are_left_out(self):
        add([1, 2, 3])
        assert self.read(add([4])) == [4]


class TestFacts:
    def test_are_of_the_battery_that_is_asked_for(self):
        add()
        battery = add([1, 2], filename="y.mat", nominal_capacity=1.1)
        with selecting() as connection:
            facts = batteries.facts(connection, battery.id)
            assert batteries.facts(connection, 99) is None
        assert facts is not None
        assert (facts.id, facts.filename, facts.total_cycles, facts.nominal_capacity) == (battery.id, "y.mat", 2, 1.1)
        assert facts.updated_at == battery.updated_at


class TestDuplicateOf:
    def duplicates(self) -> dict[int, int | None]:
        with reading() as session:
            return batteries.duplicates_of(session, list(session.scalars(select(Battery.id))))

    def test_is_the_earliest_battery_of_the_same_bytes(self):
        first, other, again, third = add(), add(sha256="1" * 64), add(), add()
        assert self.duplicates() == {first.id: None, other.id: None, again.id: first.id, third.id: first.id}

    def test_moves_on_when_the_earliest_is_deleted(self):
        first, again, third = add(), add(), add()
        with transaction() as session:
            session.execute(delete(Battery).where(Battery.id == first.id))
        assert self.duplicates() == {again.id: None, third.id: again.id}

    def test_another_cell_of_the_same_file_is_no_duplicate(self):
        cells = [add(import_report={"cell": name}) for name in ("Cell1", "Cell2", "Cell1")]
        assert self.duplicates() == {cells[0].id: None, cells[1].id: None, cells[2].id: cells[0].id}


class TestIsBehind:
    def behind(self) -> bool:
        with reading() as session:
            return data_versions.is_behind(session)

    def version(self, count: int, *, pushed: bool = True, dvc_hash: str = "a.dir") -> int:
        with transaction() as session:
            version = data_versions.record(session, dvc_hash, count, 1)
            version.pushed_at = utc_now() if pushed else None
            return version.id

    def test_not_without_batteries(self):
        assert not self.behind()

    def test_when_a_battery_has_no_version(self):
        add()
        assert self.behind()

    def test_not_when_every_battery_is_in_the_newest_version(self):
        add(data_version_id=self.version(1))
        assert not self.behind()

    def test_when_a_battery_was_deleted(self):
        add(data_version_id=self.version(2))
        assert self.behind()

    def test_when_the_version_was_not_pushed(self):
        add(data_version_id=self.version(1, pushed=False))
        assert self.behind()


class TestRecordDataVersion:
    def test_a_state_seen_again_is_the_same_row_and_the_newest(self):
        with transaction() as session:
            first = data_versions.record(session, "a.dir", 1, 1)
            first.seen_at -= timedelta(minutes=2)
            second = data_versions.record(session, "b.dir", 2, 2)
            second.seen_at -= timedelta(minutes=1)
            assert data_versions.newest(session) is second
            assert data_versions.record(session, "a.dir", 1, 1) is first
            assert data_versions.newest(session) is first
