"""``skdc app``: a page in the browser that separates what is dropped or recorded there."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdc.commands.options import add_model_argument, positive_int
from skdc.paths import check_outputs

if TYPE_CHECKING:
    from skdc.separator import DeepClusteringSeparator

__all__ = ["build_app", "import_gradio"]

_LOOPBACK = "127.0.0.1"
_LAST_PORT = 65535
_AUTO = "count them"
_CHOICES = (_AUTO, "2", "3", "4")
# Seconds after which what was dropped, and what came of it, goes from the disk.
_KEPT_S = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="where it listens, on this computer only (default: the first free one from 7860 on)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, and open no browser"
    )
    add_model_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command until it is interrupted."""
    gradio = import_gradio()
    from skdc.pretrained import load_pretrained

    app = build_app(load_pretrained(args.model, device=args.device))
    # The fonts of the themes would come from the network.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        _, address, _ = app.launch(
            server_name=_LOOPBACK,
            server_port=args.port,
            share=False,
            inbrowser=not args.no_browser,
            theme=theme,
            quiet=True,
            show_error=True,
            footer_links=[],
            prevent_thread_lock=True,
        )
    except OSError as error:
        if args.port is None:
            raise
        raise OSError(f"--port {args.port} is taken; give another, or none") from error
    print(f"Open {address} to separate recordings; Ctrl-C ends it", flush=True)
    app.block_thread()
    return 0


def _port(text: str) -> int:
    port = positive_int(text)
    if port > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"got {port}; ports end at {_LAST_PORT}")
    return port


def import_gradio() -> Any:
    """Import gradio, or raise an ImportError with the command that installs it."""
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            'the app needs gradio; install it with: pip install "skdc[app]"'
        ) from error
    return gradio


def build_app(model: DeepClusteringSeparator) -> Any:
    """Build the page of a fitted separator: a recording in, players and files out.

    Gives gradio's Blocks, to be launched. They send nothing to other computers.
    """
    gradio = import_gradio()

    def separate(path: str | None, talkers: str, noise: bool, name: str) -> tuple[str, list[str]]:
        from skdc.audio.sources import source_paths
        from skdc.pretrained import separate

        if path is None:
            raise gradio.Error("Drop a recording or record one first.", print_exception=False)
        n_sources: Any = "auto" if talkers == _AUTO else int(talkers)
        # Gradio keeps a copy of each file that it shows, and deletes it after a while.
        folder = Path(tempfile.mkdtemp(dir=Path(path).parent))
        stem = Path(name).stem
        try:
            # The name of the noise is the longest of all that may come of it.
            longest = source_paths(folder, stem, 0, noise=True)
            check_outputs(longest, advice="give the recording another name")
            found = separate(path, model=model, n_sources=n_sources, noise=noise)
            result = replace(found, name=stem)
            page = result.listen()
            files = [*result.save(folder), page.save(folder / f"{result.name}.html")]
        except (OSError, ValueError) as error:
            raise gradio.Error(str(error), print_exception=False) from error
        return page._repr_html_(), [str(file) for file in files]

    with gradio.Blocks(
        title="skdc", analytics_enabled=False, delete_cache=(_KEPT_S, _KEPT_S)
    ) as app:
        gradio.Markdown("# Who says what?\nDrop a recording of several people, or record one.")
        with gradio.Row():
            recording = gradio.Audio(
                type="filepath", label="Recording", elem_id="recording", buttons=["download"]
            )
            with gradio.Column():
                talkers = gradio.Radio(
                    _CHOICES, value=_AUTO, label="How many people speak?", elem_id="talkers"
                )
                noise = gradio.Checkbox(
                    label="Keep noise apart",
                    visible=model.network_.noise_head is not None,
                    elem_id="noise",
                )
                button = gradio.Button("Separate", variant="primary", elem_id="separate")
        name = gradio.Textbox(visible=False)
        page = gradio.HTML(elem_id="page")
        files = gradio.Files(label="Files to keep", elem_id="files", interactive=False)
        button.click(
            separate,
            [recording, talkers, noise, name],
            [page, files],
            # The path of what was dropped lacks some characters of its name.
            js="(recording, ...others) => "
            "[recording, ...others.slice(0, 2), recording?.orig_name ?? '']",
            api_visibility="private",
        )
    return app
