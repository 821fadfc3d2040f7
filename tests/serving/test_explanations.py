import numpy as np
import pytest

from serving.explanations import MOST, explain
from serving.questions import Question


@pytest.fixture(scope="module")
def bundle(train):
    return train("bilstm", epochs=3, window=3).bundle


def question(history, x=None):
    x = history.features[-3:].astype(np.float32) if x is None else x
    return Question("bilstm", None, x, history.cycle_index[-3:].astype(float), "LFP", explain=True)


class TestExplain:
    def test_tells_the_answer_less_the_answer_with_the_feature_at_its_typical_value(self, bundle, history):
        asked = question(history)
        told = explain(bundle, asked)
        assert 0 < len(told) <= MOST
        first = told[0]
        column = bundle.feature_names.index(first["feature"])
        changed = asked.x.copy()
        changed[:, column] = first["typical"]
        whole, without = bundle.predict([asked.x, changed], [asked.cycle_index] * 2, ["LFP"] * 2)
        assert first["value"] == pytest.approx(float(asked.x[-1, column]))
        assert first["typical"] == pytest.approx(float(bundle.typical[column]))
        assert first["soh"] == pytest.approx(whole.soh - without.soh, abs=1e-6)
        assert first["rul"] == pytest.approx(whole.rul - without.rul, abs=1e-3)
        effects = [abs(moved["soh"]) for moved in told]
        assert effects == sorted(effects, reverse=True)
        assert effects[0] > 0

    def test_says_nothing_of_what_is_unknown(self, bundle, history):
        x = history.features[-3:].astype(np.float32)
        (known,) = np.flatnonzero(np.isfinite(x[-1]))[:1]
        alone = np.full_like(x, np.nan)
        alone[:, known] = x[:, known]
        told = explain(bundle, question(history, alone))
        assert [moved["feature"] for moved in told] == [bundle.feature_names[known]]

    def test_typical_values_move_nothing(self, bundle, history):
        x = np.tile(bundle.typical.astype(np.float32), (3, 1))
        assert all(abs(moved["soh"]) < 1e-6 for moved in explain(bundle, question(history, x)))
