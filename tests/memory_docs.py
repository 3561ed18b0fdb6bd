"""Write what the commands of docs/memory.md print, and the picture they draw.

python -m tests.memory_docs
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/memory.md"
PICTURE = ROOT / "docs/memory.png"
PYTHON = re.compile(r"```python\n(.*?)```", re.S)
SESSION = re.compile(r"```console\n\$ (.*?)\n(.*?)```", re.S)


def encoder_file(document: str) -> str:
    """Return the file that the commands name."""
    (block,) = [x for x in PYTHON.findall(document) if x.startswith("# encoder.py\n")]
    return block


def main() -> None:
    document = DOCUMENT.read_text()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "encoder.py").write_text(encoder_file(document))

        def session(found: re.Match[str]) -> str:
            command = [sys.executable, *shlex.split(found[1])[1:]]
            output = subprocess.run(
                command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True
            )
            return f"```console\n$ {found[1]}\n{output.stdout}```"

        DOCUMENT.write_text(SESSION.sub(session, document))
        PICTURE.write_bytes((Path(folder) / "memory.png").read_bytes())


if __name__ == "__main__":
    main()
