"""How a recogniser's references and outputs are written, so that only what was heard wrongly differs."""

from speechssl.config import TextConfig
from speechssl.text.lexicon import Lexicon
from speechssl.text.normalisation import Normalizer, clean_text


class Writer:
    """Writes transcripts as a recogniser's labels are.

    Args:
        config: how words are written.
        lexicon: of a recogniser of phonemes.

    Raises:
        ConfigError: as of :class:`Normalizer`.
    """

    def __init__(self, config: TextConfig | None = None, lexicon: Lexicon | None = None) -> None:
        self.normalize = Normalizer(config or TextConfig())
        self.lexicon = lexicon

    def reference(self, text: str) -> str:
        """What a person wrote, to be learned from or scored against."""
        words = self.normalize(text)
        return words if self.lexicon is None else self.lexicon.pronounce(words)

    def output(self, text: str) -> str:
        """What the recogniser wrote."""
        return self.normalize(text) if self.lexicon is None else clean_text(text)
