"""Oxford (C. Birkl, D. Howey, Battery Degradation Dataset 1): pouch cells of Kokam, measured every 100 drive cycles.

`Cell1` … `Cell8` hold `cyc0000`, `cyc0100`, …, whose number is the cycle's. Of a characterisation, C1ch and C1dc are
the cycle: a charge and a discharge at 1C. The slow ones (OCVch, OCVdc) are not part of it. The file has no current.
"""

from batteries.matfiles.declaration import Column, Declaration
from batteries.matfiles.declared import declared

LAYOUT = declared(
    Declaration(
        name="oxford",
        cycles=r"cyc(\d+)",
        parts={"C1ch": "charge", "C1dc": "discharge"},
        columns={
            "time_s": Column("t", "days"),
            "voltage_v": Column("v", "V"),
            "temperature_c": Column("T", "degC"),
            "charge_ah": Column("q", "mAh"),
        },
        nominal_capacity_ah=0.74,
        manufacturer="Kokam",
        chemistry="LCO/NCO",
        discharge_cut_off_v=2.7,
        notes=(
            "the file has no current: it is the charge's rate of change, I = dq/dt, + in C1ch and - in C1dc",
            "OCVch and OCVdc, the slow charge and discharge beside each cycle, are not part of it",
        ),
    )
)
