"""Readers of declared layouts: `declared` makes the reader of a `Declaration`."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from batteries.matfiles.assembling import cycles_of, gaps
from batteries.matfiles.declaration import Declaration
from batteries.matfiles.declared_records import at_path, entries_of
from batteries.matfiles.entries import Record
from batteries.matfiles.errors import NoCycles
from batteries.matfiles.facts import facts, nominal_capacity_ah
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Cell, Layout
from batteries.matfiles.places import ROOT, Place, cells_at, records_at
from batteries.matfiles.tree import Node, Numbers, Struct, text
from batteries.recordings import Recording

DERIVED = "derived from charge"
LONGEST_NAME = 200


def declared(declaration: Declaration) -> Layout:
    """The layout's reader."""
    return Layout(
        name=declaration.name,
        cells=partial(_cells, declaration),
    )


def _cells(declaration: Declaration, variables: Struct) -> tuple[Cell, ...]:
    places = list(cells_at(variables, partial(_is_cell, declaration)))
    names = _names(declaration, places)
    return tuple(
        Cell(name, partial(_read, declaration, variables, place, name, len(places)))
        for name, place in zip(names, places, strict=True)
    )


def _is_cell(declaration: Declaration, cell: Record) -> bool:
    """Whether cycles of this layout lie in a struct."""
    _, first = next(records_at(cell, declaration.cycles), (None, None))
    if first is None:
        return False
    wanted = {declaration.kind, declaration.inside} - {""}
    if declaration.parts:
        if not any(part in first for part in declaration.parts):
            return False
    elif not declaration.inside:
        flow = "charge_ah" if declaration.derives_current else "current_a"
        wanted |= {declaration.fields_of(name)[0].name for name in ("voltage_v", flow)}
    return wanted <= set(first) and (
        not declaration.marks or any(_has(cell, first, mark) for mark in declaration.marks)
    )


def _has(cell: Record, first: Record, mark: str) -> bool:
    return at_path(cell, mark) is not None if "." in mark else mark in first


def _names(declaration: Declaration, places: Sequence[Place]) -> tuple[str, ...]:
    """Names of the cells: as the file names them where that tells them apart, else by their places."""
    said = [
        ", ".join(filter(None, (_name(place.fields.get(name)) for name in declaration.cell_names))) for place in places
    ]
    unique = len(set(said)) == len(said) and all(said)
    return tuple(
        name if unique else f"{place.path}: {name}" if name else place.path
        for name, place in zip(said, places, strict=True)
    )


def _name(node: Node | None) -> str | None:
    """A text, also where it was stored as the codes of its letters."""
    if isinstance(node, Numbers) and 1 < node.size <= LONGEST_NAME:
        codes = node.read()
        readable = bool(((codes >= ord(" ")) & (codes <= ord("~")) & (codes == np.floor(codes))).all())
        return "".join(chr(int(code)) for code in codes).strip() or None if readable else None
    return text(node)


def _read(declaration: Declaration, variables: Struct, place: Place, name: str, cells_in_file: int) -> Recording:
    """The recording of one cell.

    Raises:
        NoCycles: there is no discharge, or no cycle has samples.
    """
    findings = Findings(remarks=list(declaration.notes), sign_is_said=True)
    if declaration.derives_current:
        findings.said.add("current_a")
    entries = entries_of(declaration, place.fields, findings)
    if declaration.kind and not any(some.kind == "discharge" for some in entries):
        raise NoCycles(f"{name} holds operations in the layout '{declaration.name}', but no discharge among them.")
    if not any(some.size for some in entries):
        raise NoCycles(f"{name} holds cycles in the layout '{declaration.name}', but none with samples.")
    said = facts(variables.element(0)) | facts(place.fields)
    nominal = nominal_capacity_ah(place.fields, findings) or nominal_capacity_ah(variables.element(0), findings)
    if nominal is None and declaration.nominal_capacity_ah is not None:
        nominal = declaration.nominal_capacity_ah
        findings.assumed.append(f"nominal capacity {nominal:g} Ah, as the layout's cells have")
    cycles = cycles_of(entries, nominal, findings)
    gaps(cycles, findings)
    findings.sign = DERIVED if declaration.derives_current else _sign_in_file(declaration, findings.sign)
    findings.remarks.insert(0, f"{declaration.name} layout: {findings.described()}")
    return Recording(
        cycles=tuple(cycles),
        layout=declaration.name,
        cell=None if name == ROOT else name,
        nominal_capacity_ah=nominal,
        manufacturer=said.get("manufacturer", declaration.manufacturer),
        chemistry=said.get("chemistry", declaration.chemistry),
        report=findings.report(cells_in_file),
        discharge_cut_off_v=declaration.discharge_cut_off_v,
    )


def _sign_in_file(declaration: Declaration, found: str) -> str:
    """The file's own sign, where the layout's was applied before `found` was."""
    signs = ("positive on charge", "positive on discharge")
    if declaration.positive_on == "charge" or found not in signs:
        return found
    return signs[1 - signs.index(found)]
