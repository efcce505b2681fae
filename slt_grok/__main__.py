"""`python -m slt_grok` is the command `slt-grok`."""

from slt_grok.cli import main

main()
