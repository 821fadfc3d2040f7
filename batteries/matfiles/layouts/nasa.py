"""NASA PCoE (B. Saha, K. Goebel, Battery Data Set): a struct named as the cell, whose `cycle` is a list of operations.

A cycle of the product is a discharge with the charge before it; its index counts the discharges from 1.
`Current_measured` is used: the sign of `Current_load` flips between records.
"""

from batteries.matfiles.declaration import Column, Declaration
from batteries.matfiles.declared import declared
from batteries.matfiles.entries import Record
from batteries.matfiles.tree import Struct, scalar


def resistance_ohm(operation: Record) -> float | None:
    """Electrolyte and charge-transfer resistance, Re + Rct, that an impedance measurement estimates."""
    data = operation["data"]
    if not isinstance(data, Struct) or data.count != 1 or "Re" not in data.fields or "Rct" not in data.fields:
        return None
    electrolyte, transfer = scalar(data.fields["Re"][0]), scalar(data.fields["Rct"][0])
    return electrolyte + transfer if electrolyte and transfer and min(electrolyte, transfer) > 0 else None


LAYOUT = declared(
    Declaration(
        name="nasa",
        cycles="cycle",
        inside="data",
        kind="type",
        started="time",
        columns={
            "time_s": Column("Time", "s"),
            "voltage_v": Column("Voltage_measured", "V"),
            "current_a": Column("Current_measured", "A"),
            "temperature_c": Column("Temperature_measured", "degC"),
            "capacity_ah": Column("Capacity", "Ah"),
        },
        resistance=resistance_ohm,
        nominal_capacity_ah=2.0,
        manufacturer="NASA PCoE",
        notes=(
            "internal resistance is Re + Rct of the impedance measurement before the discharge, where there is one",
        ),
    )
)
