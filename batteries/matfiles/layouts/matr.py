"""MATR (Severson et al., Nature Energy 4:383, 2019): LFP cells of A123 in fast charging, one or a `batch` of them.

A cell has a struct array `cycles` with I, V, T, t (minutes), Qc and Qd, and a `summary` with one row for each cycle.
`Qdlin`, `Tdlin` and `discharge_dQdV` are made of those by interpolation: they are not read.
"""

from batteries.matfiles.declaration import Column, Declaration
from batteries.matfiles.declared import declared

LAYOUT = declared(
    Declaration(
        name="matr",
        cycles="cycles",
        columns={
            "cycle_index": Column("summary.cycle"),
            "time_s": Column("t", "min"),
            "voltage_v": Column("V", "V"),
            "current_a": Column("I", "A"),
            "temperature_c": Column("T", "degC"),
            "discharged_ah": (Column("summary.QDischarge", "Ah"), Column("Qd", "Ah")),
            "charged_ah": (Column("summary.QCharge", "Ah"), Column("Qc", "Ah")),
            "resistance_ohm": Column("summary.IR", "ohm"),
        },
        marks=("summary.QDischarge", "summary.IR", "summary.chargetime", "Qdlin", "Tdlin", "discharge_dQdV"),
        cell_names=("barcode", "policy_readable"),
        nominal_capacity_ah=1.1,
        manufacturer="A123 Systems",
        chemistry="LFP",
        discharge_cut_off_v=2.0,
    )
)
