"""``python -m speechssl``, the same as the ``speechssl`` command."""

from speechssl.cli import command

command()
