"""The tutorial's ten steps against a running platform, through its HTTP API and a WebSocket."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from launch.display import Pace, console, counted
from launch.platform_client import CallFailed, PlatformClient

STEPS = 10
ALGORITHM = "bilstm"
SPARKS = "▁▂▃▄▅▆▇█"


@dataclass
class Tutorial:
    """One walk through the tutorial. Every step raises CallFailed when it does not do what it says."""

    client: PlatformClient
    file: Path
    second_file: Path | None = None  # asked about together with the first in the last step
    synthetic: bool = False
    epochs: int = 100
    number: int = 0
    battery: dict[str, Any] = field(default_factory=dict)
    job_id: int = 0
    model_id: int = 0

    def run(self, email: str, password: str) -> None:
        """All ten steps."""
        self.sign_in(email, password)
        self.upload()
        self.verify()
        self.view_cycles()
        self.start_training()
        self.follow_training()
        self.view_metrics()
        self.view_model()
        self.predict()
        self.predict_batch()

    def say(self, what: str, result: str) -> None:
        """One line a step."""
        self.number += 1
        console.print(f"[bold]{self.number:>2}/{STEPS}[/bold]  {what:<16}", end="")
        console.print(result, markup=False)

    def sign_in(self, email: str, password: str) -> None:
        """Step 1."""
        self.client.sign_in(email, password)
        self.say("Sign in", f"as {email}, password {password}")

    def upload(self) -> None:
        """Step 2."""
        self.battery = self.uploaded(self.file)
        nature = ", SYNTHETIC: computed from a physical model, not measured" if self.synthetic else ""
        size = self.file.stat().st_size / 1e6
        self.say("Upload", f"{self.file.name} ({size:.1f} MB{nature}) is battery {self.battery['id']}")

    def uploaded(self, path: Path) -> dict[str, Any]:
        """The battery made from a file, with a bar meanwhile."""
        bar = Progress(
            TextColumn("       uploading"), BarColumn(), DownloadColumn(), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        with bar, bar.open(path, "rb", description="upload") as file:
            return self.client.upload(path.name, file)

    def verify(self) -> None:
        """Step 3."""
        battery = self.client.call("GET", f"/batteries/{self.battery['id']}")
        if battery["total_cycles"] < 1:
            raise CallFailed("the battery has no cycles")
        capacity = battery["nominal_capacity"]
        facts = [battery["manufacturer"], battery["chemistry"], capacity and f"{capacity:g} Ah nominal"]
        self.say(
            "Verify upload", ", ".join([counted(battery["total_cycles"], "cycle"), *(fact for fact in facts if fact)])
        )

    def view_cycles(self) -> None:
        """Step 4."""
        page = self.client.call("GET", f"/batteries/{self.battery['id']}/cycles", params={"page": 1, "page_size": 10})
        if not page["items"]:
            raise CallFailed("the first page of cycles is empty")
        first = page["items"][0]
        health = "unknown" if first["soh"] is None else f"{first['soh']:.3f}"
        samples = f"cycle {first['cycle_index']} has {counted(len(first['voltage']), 'sample')} and SoH {health}"
        self.say("View cycles", f"page 1 of {page['meta']['total_pages']}: {samples}")

    def start_training(self) -> None:
        """Step 5."""
        name = f"{ALGORITHM}-{'synthetic-demo' if self.synthetic else 'demo'}"
        hyperparams = {"epochs": self.epochs, "batch_size": 32, "learning_rate": 0.001}
        job = self.client.call(
            "POST",
            "/training-jobs",
            json={
                "algorithm": ALGORITHM,
                "battery_ids": [self.battery["id"]],
                "hyperparams": hyperparams,
                "model_name": name,
            },
        )
        self.job_id = job["id"]
        self.say("Start training", f"job {self.job_id}: {ALGORITHM}, {counted(self.epochs, 'epoch')}")

    def follow_training(self) -> None:
        """Step 6: every epoch as the WebSocket tells it."""
        bar = Progress(
            TextColumn("       training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"),
            TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        pace = Pace()
        with bar:
            task = bar.add_task("training", total=self.epochs, now="waiting for the worker")
            for message in self.client.follow(self.job_id):
                if message["type"] == "progress":
                    epoch, loss = message["current_epoch"], message["current_loss"]
                    shown = "starting" if loss is None else f"loss {loss:.3g}"
                    bar.update(task, completed=epoch, total=message["total_epochs"], now=shown)
                    if not console.is_terminal and epoch and pace.due(epoch, message["total_epochs"]):
                        console.print(f"       epoch {epoch}/{message['total_epochs']}, {shown}")
                        pace.said()
                elif message["type"] == "error":
                    raise CallFailed(f"job {self.job_id} {message['status']}: {message['error_message']}")
                elif message["type"] == "complete":
                    self.model_id = message["model_id"]
                    final = message["final_metrics"]
        losses = ", ".join(
            f"{name.replace('_', ' ')} {value:.3g}" for name, value in final.items() if value is not None
        )
        self.say("Watch it learn", losses)

    def view_metrics(self) -> None:
        """Step 7."""
        metrics = self.client.call("GET", f"/training-jobs/{self.job_id}/metrics")
        if not metrics["epochs"]:
            raise CallFailed("there are no metrics")
        epochs = counted(len(metrics["epochs"]), "epoch")
        self.say("View metrics", f"validation loss {spark(metrics['val_loss'])} over {epochs}")

    def view_model(self) -> None:
        """Step 8."""
        model = self.client.call("GET", f"/models/{self.model_id}")
        accuracy = model["metrics"]["test_accuracy"]
        within = "" if accuracy is None else f", {accuracy:.0%} of unseen cycles within ±0.02 SoH"
        text = f"{model['id']}: {model['name']} {model['version']}, {model['file_size'] / 1e3:.0f} kB{within}"
        self.say("Verify model", text)

    def predict(self) -> None:
        """Step 9."""
        asked = {"algorithm": ALGORITHM, "model_id": self.model_id, "battery_id": self.battery["id"]}
        answer = self.client.call("POST", "/predictions", json=asked)
        self.say("Predict", f"prediction {answer['id']} by model {answer['model_id']}")
        console.print(prediction_table(answer["result"], synthetic=self.synthetic))
        for warning in answer["result"].get("warnings") or []:
            console.print(f"  Note: {warning}", style="yellow", markup=False)

    def predict_batch(self) -> None:
        """Step 10: several batteries at once, by the serving model of the algorithm."""
        names = {self.battery["id"]: "the same battery"}
        if self.second_file is not None:
            second = self.uploaded(self.second_file)
            names[second["id"]] = f"battery {second['id']}, {'SYNTHETIC and ' if self.synthetic else ''}younger"
        requests = [{"algorithm": ALGORITHM, "battery_id": battery} for battery in names]
        results = self.client.call("POST", "/predictions/batch", json={"requests": requests})["results"]
        for item in results:
            if "error" in item:
                raise CallFailed(f"batch: {item['error']['code']}: {item['error']['message']}")
        told = (
            f"{name} by model {item['model_id']}, the champion: "
            f"SoH {item['result']['soh']:.3f}, {counted(round(item['result']['rul']), 'cycle')} left"
            for name, item in zip(names.values(), results, strict=True)
        )
        self.say("Predict a batch", "; ".join(told))


def spark(values: list[float | None]) -> str:
    """A curve in at most 40 characters, from its lowest to its highest value."""
    known = [value for value in values if value is not None]
    if not known:
        return "unknown"
    sampled = [known[index * len(known) // min(40, len(known))] for index in range(min(40, len(known)))]
    low, span = min(sampled), (max(sampled) - min(sampled)) or 1.0
    return "".join(SPARKS[int((value - low) / span * (len(SPARKS) - 1))] for value in sampled)


def prediction_table(result: dict[str, Any], *, synthetic: bool) -> Table:
    """The answer as a person reads it."""
    title = "How healthy, how long still" + (" (synthetic cell)" if synthetic else "")
    table = Table("", "estimate", "90 % interval", title=title, title_style="bold", title_justify="left", box=SIMPLE)
    table.add_row("State of health (SoH)", f"{result['soh']:.3f}", interval(result.get("soh_interval"), 3))
    table.add_row(
        "Remaining useful life", counted(round(result["rul"]), "cycle"), interval(result.get("rul_interval"), 0)
    )
    table.add_row("Confidence (SoH within ±0.02)", f"{result['confidence']:.0%}", "")
    return table


def interval(bounds: list[float] | None, digits: int) -> str:
    """``0.812 to 0.846``."""
    return "" if not bounds else f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"
