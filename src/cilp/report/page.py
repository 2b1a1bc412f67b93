"""All plots of the pipeline on one page that needs no network: ``dvc plots`` with Vega's JavaScript inside.

    PYTHONPATH=src python -m cilp.report.page [REVISION ...]

Without revisions the work tree is shown; with them, they are compared: ``main`` with the work tree, or ``main HEAD``
with each other. Fusions differ in colour, downsampling in width, revisions in dash. Writes ``dvc_plots/index.html``.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from cilp.console import cli
from cilp.errors import UserError

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>CILP: plots</title>
<script>%s</script>
<style>
body {font-family: sans-serif; margin: 2em}
img {max-width: 36em}
</style>
</head>
<body>
<h1>Plots</h1>
{plot_divs}
</body>
</html>
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revisions", nargs="*", help="branches, tags, commits or experiments to compare")
    revisions = parser.parse_args().revisions
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "page.html"
        template.write_text(PAGE % _javascript(), encoding="utf-8")
        command = ["dvc", "plots", *(["diff", *revisions] if revisions else ["show"]), "--html-template", str(template)]
        try:
            if subprocess.run(command, check=False).returncode:
                raise UserError("dvc could not draw the plots; it says above why.")
        except FileNotFoundError:
            raise UserError("dvc is missing; run `make setup`, or `source .venv/bin/activate`.") from None


def _javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed, which DVC's pages load from the web otherwise."""
    import vl_convert

    return vl_convert.javascript_bundle(vl_version="5.20").replace("</script", "<\\/script")


if __name__ == "__main__":
    cli.run(main)
