"""What is found out about a file while it is read; becomes the recording's report."""

from dataclasses import dataclass, field

from batteries.reports import Origin, Report


@dataclass
class Findings:
    """Collects sentences, and where the columns come from."""

    remarks: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)  # columns whose unit the layout or a name says
    sign: str = ""
    sign_is_said: bool = False  # the layout says that current is positive on charge

    def origin(self, column: str, name: str, symbol: str | None, *, product_symbol: str) -> None:
        """Note which field becomes a column, and the unit that its name says (None: it does not)."""
        if column not in self.origins:
            self.origins[column] = Origin(name, symbol or product_symbol)
        if symbol is not None:
            self.said.add(column)

    def read_in(self, column: str, symbol: str, why: str) -> None:
        """A column turned out to be in another unit than it says, or than the product's."""
        if column in self.origins:
            self.origins[column] = Origin(self.origins[column].name, symbol)
        self.repaired.append(why)

    def described(self) -> str:
        """Where each column comes from, in which unit, and the file's sign of current, in a sentence."""
        taken = [
            f"{column} from '{origin.name}'" + (f" in {origin.unit}" if origin.unit else "")
            for column, origin in self.origins.items()
        ]
        return ", ".join(taken) + f"; current {self.sign}"

    def report(self, cells_in_file: int) -> Report:
        """All of it, frozen."""
        return Report(
            remarks=tuple(self.remarks),
            assumed=tuple(self.assumed),
            repaired=tuple(self.repaired),
            missing=tuple(self.missing),
            left_out=tuple(self.left_out),
            columns=dict(self.origins),
            current_sign=self.sign,
            cells_in_file=cells_in_file,
        )
