import pytest

from batteries.matfiles.names import squeezed, understand


class TestUnderstand:
    @pytest.mark.parametrize(
        ("name", "column", "factor"),
        [
            ("V", "voltage_v", 1.0),
            ("voltage", "voltage_v", 1.0),
            ("Voltage_measured", "voltage_v", 1.0),
            ("voltage_V", "voltage_v", 1.0),
            ("U", "voltage_v", 1.0),
            ("Voltage_mV", "voltage_v", 1e-3),
            ("I", "current_a", 1.0),
            ("current_A", "current_a", 1.0),
            ("I_mA", "current_a", 1e-3),
            ("currentmA", "current_a", 1e-3),
            ("T", "temperature_c", 1.0),
            ("temp", "temperature_c", 1.0),
            ("temperature_C", "temperature_c", 1.0),
            ("t", "time_s", 1.0),
            ("time_s", "time_s", 1.0),
            ("relative_time_min", "time_s", 60.0),
            ("timeHours", "time_s", 3600.0),
            ("Test_Time", "time_s", 1.0),
            ("Q", "capacity_ah", 1.0),
            ("Qd", "discharged_ah", 1.0),
            ("capacity_Ah", "capacity_ah", 1.0),
            ("Discharge_Capacity_mAh", "discharged_ah", 1e-3),
            ("cycle", "cycle_index", 1.0),
            ("Cycle_Index", "cycle_index", 1.0),
            ("cycle_number", "cycle_index", 1.0),
        ],
    )
    def test_usual_spellings(self, name, column, factor):
        meant = understand(name)
        assert meant is not None
        assert (meant.column, meant.unit.factor if meant.unit else 1.0) == (column, factor)

    @pytest.mark.parametrize(
        "name",
        [
            "SOC",
            "Current_load",
            "ambient_temperature",
            "step_time",
            "Qdlin",
            "discharge_dQdV",
            "power_Wh",
            "Date_Time",
            "type",
            "",
            "7",
        ],
    )
    def test_other_quantities_are_not_taken_for_a_column(self, name):
        assert understand(name) is None

    def test_squeezing_keeps_letters_alone(self):
        assert squeezed("Nominal_capacity_mAh") == squeezed("nominalCapacity_mAh") == "nominalcapacitymah"
