"""XJTU (Wang et al., Nature Communications 15:4332, 2024): NCM cells of Lishen; `data` has a struct a cycle."""

from batteries.matfiles.declaration import Column, Declaration
from batteries.matfiles.declared import declared

LAYOUT = declared(
    Declaration(
        name="xjtu",
        cycles="data",
        columns={
            "time_s": Column("relative_time_min", "min"),
            "voltage_v": Column("voltage_V", "V"),
            "current_a": Column("current_A", "A"),
            "temperature_c": Column("temperature_C", "degC"),
            "discharged_ah": Column("summary.discharge_capacity_Ah", "Ah"),
            "charged_ah": Column("summary.charge_capacity_Ah", "Ah"),
            "capacity_ah": Column("capacity_Ah", "Ah"),
        },
        marks=("system_time", "power_Wh", "summary.discharge_capacity_Ah", "summary.cycle_life"),
        nominal_capacity_ah=2.0,
        manufacturer="Lishen",
        chemistry="NCM",
    )
)
