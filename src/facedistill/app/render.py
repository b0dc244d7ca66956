"""Command `render`: files of curves, or recordings that a model animates first, as faces that speak."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from facedistill.app.animate import NO_MEMORY, Settings, animate_recording, read_recording
from facedistill.core.errors import InputError
from facedistill.core.messages import print_error
from facedistill.formats import registry
from facedistill.render.film import FILM, SUFFIXES, Look, Panel, Strip, render
from facedistill.rig.arkit import CURVES
from facedistill.runtime import find_model
from facedistill.speech.audio import AUDIO_SUFFIXES, list_recordings
from facedistill.speech.phones import read_phones


def render_files(
    sources: Sequence[Path], out: Path, look: Look, *, model: str, compare: bool, sound: Path | None,
    phones: Path | None, strip: bool, workers: int,
) -> list[Path]:  # fmt: skip
    """Draws files of curves, or recordings that a model animates first; what cannot be drawn is told in a line, the others are.

    Into one file, side by side (`compare`), or a folder. Sound: a recording, one of that name in a folder, or the first source.
    """
    draw = partial(_render_clip, look=look, model=model, sound=sound, phones=phones, strip=strip, workers=workers)
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        if len(sources) > 1 and not compare:
            raise InputError(f"{out}: {len(sources)} sources for one file; expected with --compare side by side, or a folder")
        draw(sources, out)
        return [out]
    if compare or (out.suffix and not out.is_dir()):
        raise InputError(f"{out}: cannot be rendered to; expected {', '.join(SUFFIXES)}, or without --compare a folder")
    if phones is not None and len(sources) > 1:
        raise InputError(f"{phones}: phones of one source, for {len(sources)}; expected with one source, or with --compare")
    _check_names(sources)
    done = []
    for source in sources:
        clip = out / f"{source.stem}{FILM}"
        try:
            draw([source], clip)
            done.append(clip)
        except (InputError, MemoryError) as error:
            message = f"{source}: {NO_MEMORY}" if isinstance(error, MemoryError) else str(error)
            if len(sources) == 1:
                raise InputError(message) from None
            print_error(message)
    if len(done) < len(sources):
        raise InputError(f"{len(sources) - len(done)} of {len(sources)} films are missing, for the reasons above")
    return done


def _check_names(sources: Sequence[Path]) -> None:
    name, count = Counter(source.stem for source in sources).most_common(1)[0]
    if count > 1:
        raise InputError(f"{name}: the name of {count} sources; expected each name once")


def _render_clip(
    sources: Sequence[Path], out: Path, *,
    look: Look, model: str, sound: Path | None, phones: Path | None, strip: bool, workers: int,
) -> None:  # fmt: skip
    source, known = _sound_of(sources[0], sound), read_phones(phones) if phones else ()
    recording = None if source is None else Strip(*read_recording(source), known)
    panels = [panel_of(source, look, model) for source in sources]
    _check_names(sources)
    render(panels, out, look, sound=recording, strip=strip or phones is not None, workers=workers)


def _sound_of(source: Path, sound: Path | None) -> Path | None:
    if sound is None or not sound.is_dir():
        return sound or (source if _is_recording(source) else None)
    found = [path for path in list_recordings(sound) if path.stem == source.stem and path.parent == sound]
    if len(found) != 1:
        wanted = f"expected one, {', '.join(sorted(AUDIO_SUFFIXES))}"
        raise InputError(f"{sound}: {len(found) or 'no'} recordings of the name {source.stem}; {wanted}")
    return found[0]


def _is_recording(path: Path) -> bool:
    """All that is no file of curves: sound may be in files of any kind, films too."""
    return path.suffix.lower() not in {*registry.BY_SUFFIX, ".gltf"}


def panel_of(source: Path, look: Look, model: str = "") -> Panel:
    """Curves at the clip's frame rate under the source's name: a file's, or a model's of a recording; what is not there rests."""
    if _is_recording(source):
        return Panel(source.stem, animate_recording(source, Settings(find_model(model), fps=round(look.fps))).select(CURVES))
    animation = registry.read(source)
    if not set(animation.names) & set(CURVES):
        raise InputError(f"{source}: no curve has a name of ARKit's; expected {CURVES[0]}, ...")
    try:
        return Panel(source.stem, animation.at(look.fps).select(CURVES))
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None
    except MemoryError:
        raise InputError(f"{source}: {NO_MEMORY}") from None
