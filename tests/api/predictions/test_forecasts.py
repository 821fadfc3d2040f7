import numpy as np
import pytest

from api.predictions.forecasts import MOST_POINTS, fade_rate, forecast

ANSWER = {"soh": 0.9, "rul": 100.0, "soh_interval": [0.88, 0.92], "rul_interval": [50.0, 200.0]}


def told(fade=None, index=None, **changes):
    return forecast(ANSWER | changes, end_of_life=0.8, cycle_index=index, fade=fade)


class TestForecast:
    def test_without_a_fade_rate_is_a_straight_line_to_the_end_of_life(self):
        line = told(index=7)
        assert line["cycles_ahead"] == list(range(101))
        assert line["cycle_index"] == list(range(7, 108))
        np.testing.assert_allclose(line["soh"], 0.9 - 0.001 * np.arange(101), atol=1e-6)

    def test_bends_as_the_battery_fades(self):
        # slope 0.0005 at first; the rest of the drop, 0.1 - 0.05, grows with the square of the cycles
        k = np.arange(101)
        np.testing.assert_allclose(told(fade=0.0005)["soh"], 0.9 - 0.0005 * k - 0.05 * (k / 100) ** 2, atol=1e-6)

    @pytest.mark.parametrize("fade", [None, -1.0, 0.0, 0.0005, 0.0015, 1.0])
    @pytest.mark.parametrize("rul", [0.2, 3.7, 100.0, 5000.0])
    def test_never_rises_ends_at_the_end_of_life_and_lies_in_its_band(self, fade, rul):
        line = told(fade=fade, rul=rul, rul_interval=[rul / 2, rul * 2])
        soh, lower, upper = (np.array(line[name]) for name in ("soh", "lower", "upper"))
        assert len(soh) <= MOST_POINTS
        assert soh[0] == 0.9
        assert line["cycles_ahead"][-1] == max(1, int(np.ceil(rul)))
        assert (np.diff(soh) <= 1e-6).all()
        assert (lower <= soh).all()
        assert (soh <= upper).all()
        at_end = np.interp(max(rul, 1.0), line["cycles_ahead"], soh)
        assert at_end == pytest.approx(0.8, abs=0.03 if rul < 10 else 0.002)
        assert soh[-1] >= 0.8
        assert lower[-1] >= 0.7  # as far below as the present is above, however close the end

    def test_band_goes_through_the_ends_of_the_intervals(self):
        line = told()
        assert (line["lower"][0], line["upper"][0]) == (0.88, 0.92)
        assert line["lower"][50] == pytest.approx(0.8)  # the lower end of RUL
        assert line["lower"][60] == pytest.approx(0.8 - 10 * 0.001)  # on at the pace of the curve
        assert line["upper"][100] == pytest.approx(0.86)  # half of the way to 0.8 after 200

    def test_without_intervals_has_no_band(self):
        line = told(soh_interval=None, rul_interval=None)
        assert (line["lower"], line["upper"]) == (None, None)

    @pytest.mark.parametrize("changes", [{"soh": 0.79}, {"rul": 0.0}])
    def test_of_a_cell_past_its_end_is_the_present_alone(self, changes):
        line = told(**changes)
        assert line["cycles_ahead"] == [0]
        assert len(line["soh"]) == len(line["lower"]) == 1


class TestFadeRate:
    def test_is_the_slope_of_the_known(self):
        index = np.arange(10.0)
        soh = 1 - 0.002 * index
        soh[3] = np.nan
        assert fade_rate(index, soh) == pytest.approx(0.002)

    def test_of_too_few_is_unknown(self):
        assert fade_rate(np.arange(4.0), np.ones(4)) is None
        assert fade_rate(np.ones(9), np.linspace(1, 0.9, 9)) is None
