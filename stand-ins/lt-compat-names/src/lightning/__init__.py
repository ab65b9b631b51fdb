"""The name `lightning`, which lt-compat resolves to lt."""

import lt_compat

lt_compat.stand_in(__name__, "0.1.0")
