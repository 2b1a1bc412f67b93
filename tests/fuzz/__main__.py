"""``python -m fuzz``: see ``fuzz.runner``."""

from fuzz.runner import main

main()
