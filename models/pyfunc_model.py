"""A registered model as data scientists load it: `mlflow.pyfunc.load_model("models:/bilstm@champion").predict(cycles)`.

MLflow runs this file when it loads a model (models from code); the weights are `model.pth`, read without pickle.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from models.bundle import Answer, ModelBundle


class BatteryHealth(PythonModel):
    """Answers for every cycle of a table, as of that cycle."""

    bundle: ModelBundle

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights."""
        self.bundle = ModelBundle.load(Path(context.artifacts["model"]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Give soh, rul, confidence, intervals and warnings for each row, from it and the rows of its cell before it.

        `model_input`: a table (a dict of columns will do) with a row a cycle, oldest first: the features by name, where
        known, and if they are known `cycle_index` and `cell`. A row with no known feature is answered with nothing.
        """
        table = pd.DataFrame(model_input)
        features = table.reindex(columns=list(self.bundle.feature_names)).to_numpy(np.float32)
        index = table.get("cycle_index", pd.Series(np.nan, table.index)).to_numpy(np.float64)
        cell = table.get("cell", pd.Series(0, table.index)).to_numpy()
        rows = [np.flatnonzero(cell[: row + 1] == cell[row])[-self.bundle.window :] for row in range(len(table))]
        known = [row for row, seen in enumerate(rows) if np.isfinite(features[seen]).any()]
        answers = self.bundle.predict([features[rows[k]] for k in known], [index[rows[k]] for k in known])
        columns = [field.name for field in fields(Answer)]
        told = pd.DataFrame([vars(answer) for answer in answers], index=table.index[known], columns=columns)
        return told.reindex(table.index) if len(known) < len(table) else told


set_model(BatteryHealth())
