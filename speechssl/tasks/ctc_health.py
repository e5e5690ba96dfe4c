"""Watch over fine-tuning: besides the loss, outputs that stay empty or wrong."""

from collections.abc import Mapping

from speechssl.config import HealthConfig
from speechssl.training.health import Finding, Watch

_ALL_BLANK = 0.995  # share of frames decoded as blank, or of outputs that are empty, at which nothing is written
_ALL_WRONG = 0.995  # error rate at which no word is right but by chance
_BETTER = 0.01  # fall of the character error rate that is no noise

_ALL_BLANK_ADVICE = """\
Every CTC model passes through this plateau; one that stays there is not learning.
Usual causes: a learning rate too low, or a warm-up too long, to leave the plateau in these updates; a context network
that is frozen for too long; an --init that learned nothing, or none at all; too few transcripts, or other audio's.
Remedies: more updates; a higher --optimizer.learning_rate; a lower --freeze_context_updates; compare a few transcripts
with their audio."""

_EMPTY_ADVICE = """\
Every CTC model passes through this plateau; this one has stayed on it.
Usual causes: a learning rate too low, or a warm-up too long, to leave the plateau in these updates; one so high that it
threw the model back; an --init that learned nothing, or none at all; too few transcripts, or other audio's.
Remedies: a higher or lower --optimizer.learning_rate or --head_learning_rate_scale; compare a few transcripts with
their audio. If it only needs more updates, raise --health.patience_updates."""

_CONSTANT_ADVICE = """\
The head does not listen to the audio: it writes what is most frequent, whatever is said.
Usual causes: context vectors that are all alike (a collapsed --init, or a learning rate so high that it made them so;
look at the effective rank in the log); silent audio; transcripts that are not those of their audio.
Remedies: another --init; --optimizer.learning_rate three times lower; listen to a few recordings."""

_ALL_WRONG_ADVICE = """\
Usual causes: transcripts that are not those of their audio, in the training or the dev set; dev transcripts in other
case or characters than the training set's (named when the run began); training transcripts without spaces; a learning
rate far too high or too low; an --init that learned nothing.
Remedies: compare a few transcripts with their audio, in both sets; try --optimizer.learning_rate three times lower and
higher. If it only needs more updates, raise --health.patience_updates."""


class FinetuneHealth(Watch):
    """Watch over CTC fine-tuning.

    Args:
        slow_updates: Updates of the warm-up, or in which only the head learns; patience with the outputs begins after
            them.
        words_are_long: Whether the language is written without spaces, so that a word error rate of 100% says little.
    """

    def __init__(self, config: HealthConfig, *, slow_updates: int = 0, words_are_long: bool = False) -> None:
        super().__init__(config)
        self._slow_updates = slow_updates
        self._words_are_long = words_are_long

    def check(self, update: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Judge the loss, and ``blank_share``, the share of frames whose best label is blank.

        Frames that stay blank are only ever a warning: where little is said in much time, nearly all of them should
        be. Empty outputs are judged by their scores.
        """
        warning = self._all_blank(update, metrics)
        return self.verdict(update, self.loss_failures(update, metrics), [warning] if warning else [])

    def check_scores(self, update: int, scores: Mapping[str, float]) -> list[Finding]:
        """Judge ``wer``, ``cer``, and the shares of outputs that are empty and that are the most frequent one."""
        empty, wrong = self._empty_outputs(update, scores), self._all_wrong(update, scores)
        constant = self._constant_outputs(update, scores)
        return self.verdict(update, [finding for finding in (empty or constant or wrong,) if finding], [])

    def _stays(self, symptom: str, update: int, *, present: bool) -> bool:
        """Whether something has been seen in two scores or more, over the patience."""
        lasting = self.lasts(symptom, update, present=present, healthy_until=self._slow_updates)
        return lasting and self.memory.present[symptom] < update

    def _empty_outputs(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        share = scores.get("empty_share")
        if share is None or not self._stays("empty outputs", update, present=share >= _ALL_BLANK):
            return None
        return Finding(
            "empty outputs",
            f"empty outputs: at update {update} {share:.1%} of the dev utterances have no output, as at every score of "
            f"the last {self.config.patience_updates} updates or more (health.patience_updates).\n{_EMPTY_ADVICE}",
        )

    def _constant_outputs(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        share = scores.get("same_share", 0.0)
        same = share >= _ALL_BLANK and scores.get("empty_share", 0.0) < _ALL_BLANK and scores.get("cer", 1.0) > 0.5
        if not self._stays("constant outputs", update, present=same):
            return None
        return Finding(
            "constant outputs",
            f"constant outputs: at update {update} {share:.1%} of the dev utterances have one and the same output, as "
            f"at every score of the last {self.config.patience_updates} updates or more (health.patience_updates)."
            f"\n{_CONSTANT_ADVICE}",
        )

    def _all_wrong(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        """An error rate that stays at 100%; fewer wrong characters are a sign of learning before words are right."""
        if "wer" not in scores:
            return None
        wer, cer = scores["wer"], scores.get("cer", scores["wer"])
        improved = cer <= self.memory.figures.get("dev CER", cer) - _BETTER
        # What an untrained model writes can be less wrong than nothing, which comes after it: learning begins there.
        if improved or "dev CER" not in self.memory.figures or scores.get("empty_share", 0.0) >= _ALL_BLANK:
            self.memory.figures["dev CER"] = cer
        hopeless = (cer if self._words_are_long else wer) >= _ALL_WRONG
        if not self._stays("all wrong", update, present=hopeless and not improved):
            return None
        return Finding(
            "all wrong",
            f"all wrong: at update {update} the dev set's WER is {wer:.1%} and its CER {cer:.1%}; in "
            f"{self.config.patience_updates} updates or more (health.patience_updates) no word was right, and the CER "
            f"did not fall by {_BETTER:.0%}.\n{_ALL_WRONG_ADVICE}",
        )

    def _all_blank(self, update: int, metrics: Mapping[str, float]) -> Finding | None:
        share = metrics.get("blank_share")
        if share is None or not self.lasts("all blank", update, present=share >= _ALL_BLANK):
            return None
        return Finding(
            "all blank",
            f"all blank: {share:.1%} of frames are decoded as blank at update {update}, so the transcripts are empty "
            f"and the word error rate is 100%.\n{_ALL_BLANK_ADVICE}",
        )
