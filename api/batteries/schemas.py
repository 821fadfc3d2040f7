"""What is asked and said of batteries and their cycles."""

from typing import Annotated, Any

from pydantic import Field

from api.responses import Fraction, Number, Request, Schema, Text, Timestamp

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
    duplicate_of: int | None = Field(
        None, description="The earliest battery that is the same cell of a file with the same bytes.", examples=[124]
    )
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
    """One cycle's samples, labels, and what is known of it as a whole."""

    id: int = Field(examples=[5001])
    battery_id: int = Field(examples=[125])
    cycle_index: int = Field(description="As recorded in the file.", examples=[1])
    soh: Fraction = Field(description="0 to 1; null where no capacity is known.", examples=[0.95])
    rul: Number = Field(description="Cycles; null where the end of life was not reached in the data.", examples=[1100])
    capacity: Number = Field(description="Ah, as measured.", examples=[1.045])
    charge_capacity_ah: Number = Field(description="Ah, put in.", examples=[1.052])
    energy_wh: Number = Field(description="Wh, drawn by the load.", examples=[3.31])
    charge_energy_wh: Number = Field(description="Wh, put in.", examples=[3.62])
    coulombic_efficiency: Number = Field(description="Charge drawn by charge put in.", examples=[0.993])
    duration_s: Number = Field(description="Seconds from the first sample to the last.", examples=[7312.5])
    mean_temperature_c: Number = Field(description="°C, over time.", examples=[30.2])
    max_temperature_c: Number = Field(description="°C", examples=[34.9])
    internal_resistance_ohm: Number = Field(description="Ohm, where it can be known.", examples=[0.0171])
    c_rate: Number = Field(description="Mean current under load by nominal capacity, 1/h.", examples=[4.0])
    complete: bool | None = Field(description="False: its discharge was cut short or is not all there.")
    voltage: list[Number] = Field(description="V; null where the file has none.", examples=[[3.5, 3.6, 3.7, 3.8]])
    current: list[Number] = Field(description="A, positive on charge.", examples=[[1.0, 1.0, 1.0, 1.0]])
    temperature: list[Number] = Field(description="°C", examples=[[25.0, 25.5, 26.0, 26.5]])
    time: list[Number] = Field([], description="s from the cycle's first sample; only when `fields` names it.")


class Summary(Schema):
    """A battery's cycles as columns of equal length, in the order of the file; null where unknown."""

    battery_id: int = Field(examples=[125])
    cycle_index: list[int] = Field(examples=[[1, 2, 3]])
    soh: list[Fraction] = Field(examples=[[1.0, 0.998, 0.997]])
    rul: list[Number] = Field(examples=[[880, 879, 878]])
    capacity: list[Number] = Field(description="Ah", examples=[[1.1, 1.098, 1.097]])
    charge_capacity_ah: list[Number] = Field(examples=[[1.107, 1.105, 1.104]])
    energy_wh: list[Number] = Field(examples=[[3.51, 3.5, 3.5]])
    charge_energy_wh: list[Number] = Field(examples=[[3.81, 3.8, 3.8]])
    coulombic_efficiency: list[Number] = Field(examples=[[0.994, 0.994, 0.994]])
    duration_s: list[Number] = Field(examples=[[7312.5, 7310.0, 7309.0]])
    mean_temperature_c: list[Number] = Field(examples=[[30.1, 30.2, 30.2]])
    max_temperature_c: list[Number] = Field(examples=[[34.8, 34.9, 34.9]])
    internal_resistance_ohm: list[Number] = Field(examples=[[0.0171, 0.0171, 0.0172]])
    c_rate: list[Number] = Field(examples=[[4.0, 4.0, 4.0]])
    complete: list[bool | None] = Field(examples=[[True, True, True]])
