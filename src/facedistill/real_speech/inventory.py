"""What can be compared here: the recordings, and every system whose model or tool is present, each with a fingerprint."""

from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, sha256, write_json
from facedistill.core.paths import DATA, PACKAGE
from facedistill.real_speech import peers
from facedistill.real_speech.names import ENVELOPE, INVENTORY, PEER, STUDENT, TEACHER, TORCH, TORCH_SUFFIX
from facedistill.real_speech.recordings import Recording, read_recordings
from facedistill.real_speech.settings import Settings
from facedistill.runtime.released import RELEASED, WINDOW_SUFFIX

ENVELOPE_NAME = "amplitude-envelope"
# What of this project decides the curves of each kind, besides the model: what is heard, and what is made of it.
HEARD = ("speech/audio.py", "speech/augment.py", "real_speech/conditions.py")
CODE = {
    TEACHER: (*HEARD, "models", "real_speech/systems.py"),
    TORCH: (*HEARD, "models", "real_speech/systems.py"),
    STUDENT: (*HEARD, "animate.py", "runtime", "real_speech/systems.py"),
    ENVELOPE: (*HEARD, "measure/baselines.py", "real_speech/systems.py"),
    PEER: (*HEARD, "real_speech/peers.py", "real_speech/visemes.py"),
}


@dataclass(frozen=True)
class System:
    """One row of the table.

    Attributes:
        name: unique.
        kind: one of `names.KINDS`.
        path: of its model, absolute; none where there is no file.
        sha256: of the model, as `core.files.sha256` gives it; none where there is no file.
        bytes: of the model; none where there is no file.
        version: of a peer.
        fingerprint: of all that decides its curves but the sound.
    """

    name: str
    kind: str
    path: Path | None = None
    sha256: str | None = None
    bytes: int | None = None
    version: str | None = None
    fingerprint: str = ""


def recordings_of(settings: Settings, folder: Path) -> tuple[list[Recording], list[Recording]]:
    """(those to test on, those to fit lags on); the second may be none.

    Raises:
        InputError: no manifest, no labelled recordings to test on, or broken ones.
    """
    manifest = folder / settings.manifest
    if not manifest.is_file():
        raise InputError(f"{manifest}: no such manifest; name one in {folder / 'params.yaml'}, manifest")
    tests = read_recordings(manifest, settings.split)
    if not tests:
        raise InputError(f"{manifest}: no recordings with phones in split {settings.split!r}")
    if settings.lag.split == settings.split:
        raise InputError(f"{folder / 'params.yaml'}: lag.split: {settings.lag.split!r}; allowed: not the split of the test")
    return tests, read_recordings(manifest, settings.lag.split, max_per_source=settings.lag.max_recordings)


def inventory(settings: Settings, folder: Path, *, data: Path = DATA, released: Path = RELEASED) -> None:
    """Writes `<folder>/inventory.json` and says what is skipped, a line each.

    Args:
        data: holds teach, distill, ablate and export, as far as they were made.
        released: holds released models; an exported one of the same name goes before it.

    Raises:
        InputError: see `recordings_of`.
    """
    tests, lags = recordings_of(settings, folder)
    found, skipped = systems_of(settings, folder, data=data, released=released)
    for name, why in skipped.items():
        tqdm.write(f"skipped: {name}: {why}")
    manifest = folder / settings.manifest
    files = [path for recording in [*tests, *lags] for path in (recording.audio, manifest.parent / recording.row.phones)]
    content = {
        "recordings": {"manifest": settings.manifest, "test": len(tests), "lag": len(lags), "sha256": _hash_of(manifest, files)},
        "systems": {system.name: _portable(system) for system in found},
        "skipped": skipped,
    }
    write_json(folder / INVENTORY, content)


def read_inventory(settings: Settings, folder: Path, *, data: Path = DATA, released: Path = RELEASED) -> list[System]:
    """The systems of the inventory, in order.

    Raises:
        InputError: no inventory, or it is not what is here now.
    """
    listed = read_json(folder / INVENTORY)["systems"]
    here = {system.name: system for system in systems_of(settings, folder, data=data, released=released)[0]}
    for name, entry in listed.items():
        if name not in here or _portable(here[name]) != entry:
            raise InputError(f"{folder / INVENTORY}: {name} is another one by now; run `facedistill benchmark inventory` again")
    return [here[name] for name in listed]


def systems_of(settings: Settings, folder: Path, *, data: Path, released: Path) -> tuple[list[System], dict[str, str]]:
    """(the systems here in the order of the table, {what is not: why})."""
    found, skipped = [], {}
    for name, kind, path in [
        ("teacher", TEACHER, data / "teach" / "model.safetensors"),
        *((path.stem, STUDENT, path) for path in _exported(data, released)),
        *((f"{path.parent.name}{TORCH_SUFFIX}", TORCH, path) for path in sorted((data / "distill").glob("*/model.safetensors"))),
        *((place.split("/")[0], TORCH, data / "ablate" / place / "model.safetensors") for place in settings.variants),
    ]:
        if path.is_file():
            found.append(_with_file(name, kind, path))
        else:
            skipped[name] = f"no {path.relative_to(data.parent)}"
    if not any(system.kind == STUDENT for system in found):
        skipped["students"] = "neither in data/export nor released"
    found.append(System(ENVELOPE_NAME, ENVELOPE, fingerprint=_code(ENVELOPE)))
    for name in settings.peers:
        try:
            version = peers.version(name, folder)
        except InputError as error:
            skipped[name] = str(error)
            continue
        adapter = sha256(folder / peers.ADAPTER) if peers.PEERS[name].package else ""
        found.append(System(name, PEER, version=version, fingerprint=sha256(_code(PEER), adapter, version)))
    return found, skipped


def _exported(data: Path, released: Path) -> list[Path]:
    """Every streaming model by its name, float32 before float16 before int8 of each student."""
    paths = {path.stem: path for folder in (released, data / "export") for path in sorted(folder.glob("*/*.onnx"))}
    return [path for stem, path in sorted(paths.items()) if not stem.endswith(WINDOW_SUFFIX)]


def _with_file(name: str, kind: str, path: Path) -> System:
    config = path.with_name("config.json")
    parts = [path, config] if kind != STUDENT and config.is_file() else [path]
    return System(name, kind, path, sha256(path), path.stat().st_size, fingerprint=sha256(_code(kind), *parts))


def _code(kind: str) -> str:
    files = [file for name in CODE[kind] for file in sorted((PACKAGE / name).rglob("*.py")) or [PACKAGE / name]]
    return sha256(*files)


def _portable(system: System) -> dict:
    """What does not depend on the machine."""
    return {key: value for key, value in asdict(system).items() if key not in ("name", "path") and value is not None}


def _hash_of(manifest: Path, files: list[Path]) -> str:
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: no such recording, and {manifest} names it")
    return sha256(manifest, *files)
