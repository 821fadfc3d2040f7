"""What is asked and said of batteries and their cycles."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from api.responses import Fraction, Number, Printable, Request, Schema, Timestamp

Text = Annotated[Printable, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
Capacity = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class BatteryAnswer(Schema):
    """An uploaded cell."""

    id: int = Field(examples=[125])
    filename: str = Field(description="Original name of the file.", examples=["battery_cell_001.mat"])
    total_cycles: int = Field(examples=[1500])
    nominal_capacity: Number = Field(
        description="Ah; null where nobody gave it and the file does not say.", examples=[1.1]
    )
    manufacturer: str | None = Field(examples=["Severson"])
    chemistry: str | None = Field(examples=["LFP"])
    created_at: Timestamp
    updated_at: Timestamp
    import_report: dict[str, Any] = Field(description="Layout, units and signs; what was assumed, repaired or missing.")


class UploadFields(Request):
    """The text fields of an upload. Empty ones count as left out."""

    manufacturer: Text | None = None
    chemistry: Text | None = None
    nominal_capacity: Capacity | None = None
    cell: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class BatteryChanges(Request):
    """Any of the three; what is left out stays, ``null`` clears."""

    manufacturer: Text | None = Field(None, examples=["Updated Manufacturer"])
    chemistry: Text | None = Field(None, examples=["NMC"])
    nominal_capacity: Capacity | None = Field(None, description="Ah", examples=[1.2])


class CycleAnswer(Schema):
    """One cycle's samples and labels."""

    id: int = Field(examples=[5001])
    battery_id: int = Field(examples=[125])
    cycle_index: int = Field(description="As recorded in the file.", examples=[1])
    voltage: list[Number] = Field(description="V; null where the file has none.", examples=[[3.5, 3.6, 3.7, 3.8]])
    current: list[Number] = Field(description="A, positive on charge.", examples=[[1.0, 1.0, 1.0, 1.0]])
    temperature: list[Number] = Field(description="°C", examples=[[25.0, 25.5, 26.0, 26.5]])
    soh: Fraction = Field(description="0 to 1; null where no capacity is known.", examples=[0.95])
    rul: Number = Field(description="Cycles; null where the end of life was not reached in the data.", examples=[1100])
    capacity: Number = Field(description="Ah, as measured.", examples=[1.045])
