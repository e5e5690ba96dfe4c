"""``python -m speechssl``, the same as the ``speechssl`` command."""

import sys

from speechssl.cli import main

sys.exit(main())
