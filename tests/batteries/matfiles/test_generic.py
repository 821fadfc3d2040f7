import h5py
import numpy as np
import pytest

from batteries.matfiles.errors import NoCycles, SeveralCells
from batteries.matfiles.layout import numbered
from batteries.matfiles.reader import read

CYCLES = 3
TIME_S = np.append(np.arange(0.0, 3600.0, 60.0), 3600.0 + np.arange(0.0, 3001.0, 60.0))
CHARGING = TIME_S < 3600.0
VOLTAGE = np.where(CHARGING, 3.2 + TIME_S / 3600.0, 4.1 - (TIME_S - 3600.0) / 3000.0)
CURRENT = np.where(CHARGING, 1.0, -1.2)
TEMPERATURE = np.full(TIME_S.size, 25.0)


def record(number, **changed):
    columns = {
        "cycle": float(number),
        "time_s": TIME_S,
        "voltage_V": VOLTAGE,
        "current_A": CURRENT,
        "temperature_C": TEMPERATURE,
    }
    return {name: changed.get(name, value) for name, value in columns.items()}


def records(**changed):
    return [record(number, **changed) for number in (5, 6, 9)]


def renamed(element, **names):
    return {names.get(name, name): value for name, value in element.items()}


FORMS = {
    "struct array": {"cycles": records()},
    "cell array of structs": {"data": tuple(records())},
    "struct array inside a struct": {"battery": {"info": {"lab": "ours"}, "cycles": records()}},
    "samples in a struct of each cycle": {
        "cycles": [{"cycle": r["cycle"], "data": {k: v for k, v in r.items() if k != "cycle"}} for r in records()]
    },
    "cell arrays side by side": {
        "V": (VOLTAGE,) * 3, "I": (CURRENT,) * 3, "T": (TEMPERATURE,) * 3, "time_s": (TIME_S,) * 3,
        "cycle_index": np.array([5.0, 6.0, 9.0]),
    },
    "flat columns": {
        "voltage": np.tile(VOLTAGE, 3), "current": np.tile(CURRENT, 3), "temp": np.tile(TEMPERATURE, 3),
        "time_s": np.tile(TIME_S, 3) + np.repeat([0.0, 1e4, 2e4], TIME_S.size),
        "cycle_number": np.repeat([5.0, 6.0, 9.0], TIME_S.size),
    },
}  # fmt: skip


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_gives_the_same_cycles_under_their_recorded_numbers(self, write_mat, tmp_path, form):
        recording = read(write_mat(tmp_path / "x.mat", FORMS[form]))
        assert recording.layout == "generic"
        assert [cycle.index for cycle in recording.cycles] == [5, 6, 9]
        for cycle in recording.cycles:
            assert cycle.voltage_v == pytest.approx(VOLTAGE)
            assert cycle.current_a == pytest.approx(CURRENT)
            assert cycle.temperature_c == pytest.approx(TEMPERATURE)
            assert cycle.time_s == pytest.approx(TIME_S)

    def test_several_series_are_several_cells(self, write_mat, tmp_path):
        path = write_mat(
            tmp_path / "x.mat", {"a": {"cycles": records()}, "b": {"cycles": records(current_A=CURRENT / 2)}}
        )
        with pytest.raises(SeveralCells) as caught:
            read(path)
        assert caught.value.cells == ("a.cycles", "b.cycles")
        assert read(path, cell=1).cycles[0].current_a[0] == 0.5

    def test_cycles_without_a_number_are_counted_and_the_report_says_so(self, write_mat, tmp_path):
        unnumbered = [{k: v for k, v in r.items() if k != "cycle"} for r in records()]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": unnumbered}))
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3]
        assert any("numbered by their place" in line for line in recording.report.notes)

    @pytest.mark.parametrize("timed", [True, False])
    def test_charges_after_their_discharges_are_named_in_the_report(self, write_mat, tmp_path, timed):
        load = ~CHARGING
        order = np.append(np.flatnonzero(load), np.flatnonzero(CHARGING))
        turned = {"voltage_V": VOLTAGE[order], "current_A": CURRENT[order]}
        cycles = [record(1), record(2, **turned), record(3), record(4, **turned), record(5)]
        if not timed:
            cycles = [{name: value for name, value in r.items() if name != "time_s"} for r in cycles]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": cycles}))
        said = [line for line in recording.report.assumed if "the charge lies after the discharge" in line]
        assert [line.partition(": ")[2] for line in said] == ["nos. 2, 4"]
        assert recording.cycles[1].current_a == pytest.approx(CURRENT[order])

    def test_a_pulse_before_the_charge_and_a_little_charge_at_the_end_put_none_after_its_discharge(
        self, write_mat, tmp_path
    ):
        current = CURRENT.copy()
        current[0], current[-5:] = -4.0, 0.5
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": records(current_A=current)}))
        assert not any("lies after" in line for line in recording.report.notes)

    def test_without_time_and_temperature_they_are_unknown(self, write_mat, tmp_path):
        bare = [{"V": VOLTAGE, "I": CURRENT} for _ in range(2)]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": bare}))
        assert np.isnan(recording.cycles[0].time_s).all()
        assert np.isnan(recording.cycles[0].temperature_c).all()
        assert {"no temperature in the file"} <= set(recording.report.notes)
        assert any(line.startswith("no time in the file") for line in recording.report.notes)

    def test_facts_beside_the_cycles_are_kept(self, write_mat, tmp_path):
        variables = {"cycles": records(), "nominal_capacity_mAh": 1100.0, "chemistry": "LFP", "manufacturer": "A123"}
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert recording.nominal_capacity_ah == pytest.approx(1.1)
        assert (recording.chemistry, recording.manufacturer) == ("LFP", "A123")

    def test_a_nominal_capacity_that_no_cell_has_in_ampere_hours_is_in_milliampere_hours(self, write_mat, tmp_path):
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": records(), "nominal_capacity": 1100.0}))
        assert recording.nominal_capacity_ah == pytest.approx(1.1)
        assert "nominal capacity taken as mAh: 1100 is too much in Ah" in recording.report.repaired

    def test_samples_without_a_finite_cycle_number_are_left_out_and_no_others(self, write_mat, tmp_path):
        columns = dict(FORMS["flat columns"])
        columns["cycle_number"] = np.where(np.arange(columns["voltage"].size) < 4, -np.inf, columns["cycle_number"])
        recording = read(write_mat(tmp_path / "x.mat", columns))
        assert [len(cycle) for cycle in recording.cycles] == [TIME_S.size - 4, TIME_S.size, TIME_S.size]

    def test_cycle_numbers_that_are_not_whole_are_none_and_never_collide(self, write_mat, tmp_path):
        cycles = [record(number) for number in (1.0, 1.5, 2.0, 2.5)]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": cycles}))
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3, 4]
        said = recording.report.assumed
        assert "the cycle numbers in the file are not whole, and are not taken for numbers of cycles" in said
        assert "cycles without a number of their own are numbered by their place, from 1" in said

    def test_cycle_numbers_of_halves_of_cycles_may_be_halves(self, write_mat, tmp_path):
        columns = dict(FORMS["flat columns"])
        columns["cycle_number"] = np.where(columns["current"] < 0, 0.5, 0.0) + columns["cycle_number"]
        recording = read(write_mat(tmp_path / "x.mat", columns))
        assert [cycle.index for cycle in recording.cycles] == [1, 2, 3]

    def test_cycle_numbers_in_single_precision_are_whole(self, write_mat, tmp_path):
        cycles = [record(np.float32(number)) for number in (5.00001, 5.99999, 9.0)]
        assert [cycle.index for cycle in read(write_mat(tmp_path / "x.mat", {"cycles": cycles})).cycles] == [5, 6, 9]

    def test_integers_are_numbers_too(self, write_mat, tmp_path):
        millivolts = np.round(1000 * VOLTAGE).astype(np.uint16)
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": records(voltage_V=millivolts)}))
        assert recording.cycles[0].voltage_v == pytest.approx(VOLTAGE, abs=0.0006)


class TestChargesAndDischargesApart:
    def parts(self, **numbers):
        rows = {"charge": CHARGING, "discharge": ~CHARGING}
        return [
            {**numbers, "V": VOLTAGE[rows[kind]], "I": CURRENT[rows[kind]], "time_s": TIME_S[rows[kind]]}
            for _ in range(2)
            for kind in ("charge", "discharge")
        ]

    def test_each_discharge_follows_the_charge_before_it_on_one_clock(self, write_mat, tmp_path):
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": self.parts()}))
        assert [cycle.index for cycle in recording.cycles] == [1, 2]
        for cycle in recording.cycles:
            assert cycle.current_a == pytest.approx(CURRENT)
            # the charge's last sample and the discharge's first fall together: no time between them is known
            assert cycle.time_s == pytest.approx(np.where(CHARGING, TIME_S, TIME_S - 60.0))
        assert any("records of their own" in line for line in recording.report.notes)

    def test_the_recorded_number_is_kept(self, write_mat, tmp_path):
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": self.parts(cycle=7.0)}))
        assert [cycle.index for cycle in recording.cycles] == [7, 7]

    def test_the_sign_is_found_although_no_record_has_both(self, write_mat, tmp_path):
        turned = [part | {"I": -part["I"]} for part in self.parts()]
        assert read(write_mat(tmp_path / "x.mat", {"cycles": turned})).cycles[0].current_a == pytest.approx(CURRENT)


class TestUnits:
    """A file that says nothing, or the wrong thing, about its units: physics decides, and the report says so."""

    def read_as(self, write_mat, path, factors, **names):
        changed = {name: factors.get(name, 1.0) * value for name, value in record(1).items() if name in factors}
        bare = {"voltage_V": "voltage", "current_A": "current", "time_s": "time", "temperature_C": "temp"} | names
        recording = read(write_mat(path, {"cycles": [renamed(r, **bare) for r in records(**changed)]}))
        cycle = recording.cycles[0]
        assert cycle.voltage_v == pytest.approx(VOLTAGE)
        assert cycle.current_a == pytest.approx(CURRENT)
        assert cycle.time_s == pytest.approx(TIME_S)
        return recording.report.notes

    def test_a_cell_of_thousands_of_volts_is_in_millivolts(self, write_mat, tmp_path):
        assert any("mV" in line for line in self.read_as(write_mat, tmp_path / "x.mat", {"voltage_V": 1000.0}))

    def test_a_cycle_of_an_hour_and_a_half_in_110_is_in_minutes(self, write_mat, tmp_path):
        assert any("minutes" in line for line in self.read_as(write_mat, tmp_path / "x.mat", {"time_s": 1 / 60}))

    def test_a_cycle_of_two_is_in_hours(self, write_mat, tmp_path):
        assert any("hours" in line for line in self.read_as(write_mat, tmp_path / "x.mat", {"time_s": 1 / 3600}))

    @pytest.mark.parametrize(
        ("factors", "names"),
        [
            ({"current_A": 1000.0}, {"current_A": "I_mA"}),
            ({"time_s": 1 / 60}, {"time_s": "relative_time_min"}),
            ({"voltage_V": 1000.0}, {"voltage_V": "voltage_mV"}),
        ],
    )
    def test_units_that_names_say_are_applied(self, write_mat, tmp_path, factors, names):
        self.read_as(write_mat, tmp_path / "x.mat", factors, **names)

    def test_a_current_that_lowers_the_voltage_when_positive_is_turned(self, write_mat, tmp_path):
        assert any(
            "sign is turned" in line for line in self.read_as(write_mat, tmp_path / "x.mat", {"current_A": -1.0})
        )

    def test_milliamperes_show_against_a_nominal_capacity(self, write_mat, tmp_path):
        unsaid = [renamed(r, current_A="current") for r in records(current_A=1000.0 * CURRENT)]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": unsaid, "nominal_capacity_Ah": 1.1}))
        assert recording.cycles[0].current_a == pytest.approx(CURRENT)
        assert any("taken as mA" in line for line in recording.report.notes)

    @pytest.mark.parametrize(("lasts", "c_rate"), [(900.0, 4.0), (400.0, 9.0), (15.0, 4.0)])
    def test_the_clock_of_fast_cycling_is_told_by_the_charge(self, write_mat, tmp_path, lasts, c_rate):
        time, sign = np.linspace(0.0, lasts, 200), np.tile([1.0, -1.0], 5)
        series = [
            {"time": time, "voltage": np.linspace(3.2, 4.1, 200)[:: int(s)], "current": np.full(200, 1.1 * c_rate * s)}
            for s in sign
        ]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": series, "nominal_capacity_Ah": 1.1}))
        # 4C for a quarter of an hour, 9C for a ninth: the nominal capacity
        assert recording.cycles[0].time_s[-1] == pytest.approx(2 * (lasts if lasts > 60 else 60 * lasts))

    def test_kelvins_become_degrees(self, write_mat, tmp_path):
        path = write_mat(tmp_path / "x.mat", {"cycles": records(temperature_C=TEMPERATURE + 273.15)})
        assert read(path).cycles[0].temperature_c == pytest.approx(TEMPERATURE)

    def test_a_clock_that_starts_anew_at_the_discharge_goes_on(self, write_mat, tmp_path):
        restarted = np.where(CHARGING, TIME_S, TIME_S - 3600.0)
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": records(time_s=restarted)}))
        time_s = recording.cycles[0].time_s
        assert (np.diff(time_s) >= 0).all()
        assert time_s[-1] == pytest.approx(3540.0 + 3000.0)
        assert any("starts anew" in line for line in recording.report.notes)

    def test_infinities_become_unknown(self, write_mat, tmp_path):
        hot = TEMPERATURE.copy()
        hot[3] = np.inf
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": records(temperature_C=hot)}))
        assert np.isnan(recording.cycles[0].temperature_c[3])
        assert "3 infinite values are unknown now" in recording.report.notes


class TestResistance:
    @pytest.mark.parametrize(
        ("said", "value", "said_so"),
        [
            ("IR", 17.0, "resistance taken as mΩ: in Ω the voltage would fall by 20.4 V under load"),  # 1.2 A
            ("IR", 0.017, "resistance taken as Ω"),
            ("IR_mOhm", 17.0, None),
        ],
    )
    def test_is_in_ohms_and_what_no_name_says_is_told_by_the_voltage_it_takes(
        self, write_mat, tmp_path, said, value, said_so
    ):
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [r | {said: value} for r in records()]}))
        assert [cycle.recorded_resistance_ohm for cycle in recording.cycles] == pytest.approx([0.017] * 3)
        assert [line for line in recording.report.notes if line.startswith("resistance")] == (
            [said_so] if said_so else []
        )


class TestCapacity:
    def test_one_number_a_cycle_is_its_capacity(self, write_mat, tmp_path):
        with_capacity = [r | {"capacity_Ah": 0.98} for r in records()]
        assert read(write_mat(tmp_path / "x.mat", {"cycles": with_capacity})).cycles[0].recorded_capacity_ah == 0.98

    def test_a_running_counter_counts_what_it_gains_under_load(self, write_mat, tmp_path):
        counter = np.where(CHARGING, TIME_S / 3600.0, (TIME_S - 3600.0) / 3000.0)
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [r | {"Q": counter} for r in records()]}))
        assert recording.cycles[0].recorded_capacity_ah == pytest.approx(1.0)

    def test_capacities_that_are_negative_throughout_are_sizes(self, write_mat, tmp_path):
        variables = {"cycles": [r | {"capacity": -1000.0} for r in records()]}  # mAh: 1.2 A for 50 minutes
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == pytest.approx([1.0] * 3)
        assert "the capacities in the file are negative: their sign is turned" in recording.report.repaired

    def test_a_negative_capacity_among_others_stays_what_it_is(self, write_mat, tmp_path):
        variables = {"cycles": [r | {"capacity": ah} for r, ah in zip(records(), (1.0, -1.0, 1.0), strict=True)]}
        recording = read(write_mat(tmp_path / "x.mat", variables))
        assert [cycle.recorded_capacity_ah for cycle in recording.cycles] == [1.0, -1.0, 1.0]

    def test_capacities_that_are_all_zero_were_never_recorded(self, write_mat, tmp_path):
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": [r | {"capacity": 0.0} for r in records()]}))
        assert all(cycle.recorded_capacity_ah is None for cycle in recording.cycles)
        assert any("all zero" in line for line in recording.report.notes)


class TestRefusals:
    def test_records_that_are_never_discharged_have_no_cycles(self, write_mat, tmp_path):
        path = write_mat(
            tmp_path / "x.mat",
            {"cycles": records(current_A=np.abs(CURRENT), voltage_V=np.linspace(3.2, 4.2, TIME_S.size))},
        )
        with pytest.raises(NoCycles, match=r"never both charge and discharge.*Found cycles: struct array of 3"):
            read(path)

    def test_a_cycle_with_texts_for_numbers_is_left_out(self, write_mat, tmp_path):
        wrong = [record(1), record(2, voltage_V="high"), record(3)]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": wrong}))
        assert [cycle.index for cycle in recording.cycles] == [1, 3]
        assert any(line.endswith("one length: no. 2") for line in recording.report.notes)

    def test_a_cycle_with_columns_of_different_lengths_is_left_out(self, write_mat, tmp_path):
        wrong = [record(1), record(2, current_A=CURRENT[:-1]), record(3, temperature_C=TEMPERATURE[:-1])]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": wrong}))
        assert [cycle.index for cycle in recording.cycles] == [1, 3]
        assert np.isnan(recording.cycles[1].temperature_c).all()
        assert any("another length, and is unknown: no. 3" in line for line in recording.report.notes)

    @pytest.mark.parametrize("nothing", [np.nan, np.inf])
    def test_nothing_but_unknown_numbers_has_no_cycles(self, write_mat, tmp_path, nothing):
        empty = np.full(TIME_S.size, nothing)
        path = write_mat(tmp_path / "x.mat", {"cycles": records(voltage_V=empty, current_A=empty)})
        with pytest.raises(NoCycles, match=r"cycles holds 3 record\(s\), but every voltage and current .* is NaN"):
            read(path)

    def test_nothing_but_zeros_has_no_cycles(self, write_mat, tmp_path):
        zeros = np.zeros(TIME_S.size)
        path = write_mat(tmp_path / "x.mat", {"cycles": records(voltage_V=zeros, current_A=zeros)})
        with pytest.raises(NoCycles, match=r"cycles holds 3 record\(s\), but all samples are zero\."):
            read(path)
        path = write_mat(tmp_path / "x.mat", {"cycles": records(voltage_V=zeros)})
        with pytest.raises(NoCycles, match=r"but the voltage is zero in every sample\."):
            read(path)

    def test_a_cycle_of_zeros_is_left_out_for_that(self, write_mat, tmp_path):
        zeros = np.zeros(TIME_S.size)
        mixed = [record(1), record(2, voltage_V=zeros, current_A=zeros), record(3, current_A=CURRENT[:-1]), record(4)]
        recording = read(write_mat(tmp_path / "x.mat", {"cycles": mixed}))
        assert {
            "cycles left out, all samples are zero: no. 2",
            "cycles left out, no voltage and current of one length: no. 3",
        } <= set(recording.report.left_out)

    def test_empty_arrays_have_no_cycles(self, write_mat, tmp_path):
        path = write_mat(
            tmp_path / "x.mat", {"cycles": records(voltage_V=np.empty((0, 0)), current_A=np.empty((0, 0)))}
        )
        with pytest.raises(NoCycles, match="one length"):
            read(path)

    def test_numbers_that_are_no_battery_are_described(self, write_mat, tmp_path):
        path = write_mat(tmp_path / "x.mat", {"picture": np.ones((4, 5)), "note": "hello", "stuff": (1.0, "a")})
        with pytest.raises(NoCycles) as caught:
            read(path)
        message = str(caught.value)
        assert "picture: 4x5 numbers; note: text; stuff: cell array of 2" in message or "4x5 numbers" in message
        assert "nasa" in message
        assert "generic" in message

    def test_a_table_of_matlab_is_refused_with_what_to_do(self, writers, tmp_path):
        path = writers["v7.3"](tmp_path / "x.mat", {"T": np.array([3707764736, 2, 1, 1, 1, 1], dtype=np.uint32)})
        with h5py.File(path, "r+") as file:
            file["T"].attrs["MATLAB_class"] = np.bytes_(b"table")
        with pytest.raises(NoCycles, match=r"MATLAB table: such objects .* table2struct"):
            read(path)

    def test_a_real_file_of_one_test_is_refused_with_what_it_holds(self, shared_data):
        path = shared_data / "not_cycles" / "dmegc_Exp25_R1.mat"
        with pytest.raises(NoCycles) as caught:
            read(path)
        assert "rw_data holds 50 record(s) that never both charge and discharge" in str(caught.value)
        assert "Layouts that are read: matr" in str(caught.value)


class TestNumbersInSentences:
    @pytest.mark.parametrize(
        ("positions", "shown"),
        [([90], "no. 90"), ([3, 5], "nos. 3, 5"), (range(1, 13), "nos. 1, 2, 3, 4, 5, 6, 7, 8, … (12 in all)")],
    )
    def test_they_are_never_to_be_taken_for_a_count(self, positions, shown):
        assert numbered(positions) == shown
