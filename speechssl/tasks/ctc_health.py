"""Watch over fine-tuning: besides the loss, outputs that stay empty or wrong."""

import math
from collections.abc import Callable, Mapping

from speechssl.config import HealthConfig
from speechssl.evaluation.causes import COLLAPSED_RANK, RunFacts, why_constant, why_empty, why_stuck
from speechssl.evaluation.diagnosis import Why
from speechssl.training.health import Finding, Watch, show_step

_ALL_BLANK = 0.995  # share of frames decoded as blank, or of outputs that are empty, at which nothing is written
_ALL_WRONG = 0.995  # error rate at which no word is right but by chance
_BETTER = 0.01  # fall of the character error rate that is no noise

_ONE_LABEL = 0.95  # share of outputs that hold the same one label and nothing else
_RISEN = 10  # loss as a multiple of the lowest, at which the run is being thrown off
_LOWEST = 1.0  # nats; what rises from less has only met something new
_NO_GRADIENT = 1e-12
_FORGOTTEN = 1.15  # dev error rate as a multiple of its best mean, while the training loss falls
_LEARNED = 0.8  # training loss as a multiple of that at the best mean
_MEAN_OF = 3  # scores
_BECOMES_WORSE = 0.02  # least rise of the dev error rate

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
        facts: What is known of the run; absent, all usual causes are named instead of the likeliest.
    """

    def __init__(
        self,
        config: HealthConfig,
        *,
        slow_updates: int = 0,
        words_are_long: bool = False,
        facts: RunFacts | None = None,
    ) -> None:
        super().__init__(config)
        self._facts = facts
        self._slow_updates = slow_updates
        self._words_are_long = words_are_long

    def check(self, update: int, metrics: Mapping[str, float]) -> list[Finding]:
        """Judge the loss, and ``blank_share``, the share of frames whose best label is blank.

        Frames that stay blank are only ever a warning: where little is said in much time, nearly all of them should
        be. Empty outputs are judged by their scores.
        """
        failures = self.loss_failures(update, metrics)
        found = [self._all_blank(update, metrics), _no_gradient(update, metrics), self._collapsed(update, metrics)]
        if not failures:
            found.append(self._rising(update, metrics))
        self._remember(metrics)
        return self.verdict(update, failures, [finding for finding in found if finding])

    def check_scores(self, update: int, scores: Mapping[str, float]) -> list[Finding]:
        """Judge ``wer``, ``cer``, and the shares of outputs that are empty and that are the most frequent one."""
        empty, wrong = self._empty_outputs(update, scores), self._all_wrong(update, scores)
        constant, one = self._constant_outputs(update, scores), self._one_label(update, scores)
        forgets = self._forgets(update, scores)
        failures = [finding for finding in (empty or constant or wrong,) if finding]
        return self.verdict(update, failures, [finding for finding in (one, forgets) if finding])

    def _stays(self, symptom: str, update: int, *, present: bool) -> bool:
        """Whether something has been seen in two scores or more, over the patience."""
        lasting = self.lasts(symptom, update, present=present, healthy_until=self._slow_updates)
        return lasting and self.memory.present[symptom] < update

    @property
    def _lasting(self) -> str:
        return f"as at every score of the last {self.config.patience_updates} updates or more (health.patience_updates)"

    def _empty_outputs(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        share = scores.get("empty_share")
        if share is None or not self._stays("empty outputs", update, present=share >= _ALL_BLANK):
            return None
        return Finding(
            "empty outputs",
            f"empty outputs: at update {update} {share:.1%} of the dev utterances have no output, {self._lasting}."
            f"{self._because(why_empty, _EMPTY_ADVICE)}",
        )

    def _constant_outputs(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        share = scores.get("same_share", 0.0)
        same = share >= _ALL_BLANK and scores.get("empty_share", 0.0) < _ALL_BLANK and scores.get("cer", 1.0) > 0.5
        if not self._stays("constant outputs", update, present=same):
            return None
        return Finding(
            "constant outputs",
            f"constant outputs: at update {update} {share:.1%} of the dev utterances have one and the same output, "
            f"{self._lasting}.{self._because(why_constant, _CONSTANT_ADVICE)}",
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
            f"did not fall by {_BETTER:.0%}.{self._because(why_stuck, _ALL_WRONG_ADVICE)}",
        )

    def _all_blank(self, update: int, metrics: Mapping[str, float]) -> Finding | None:
        share = metrics.get("blank_share")
        if share is None or not self.lasts("all blank", update, present=share >= _ALL_BLANK):
            return None
        return Finding(
            "all blank",
            f"all blank: {share:.1%} of frames are decoded as blank at update {update}, so the transcripts are empty "
            f"and the word error rate is 100%.{self._because(why_empty, _ALL_BLANK_ADVICE)}",
        )

    def _because(self, why: Callable[..., Why | None], advice: str) -> str:
        """The likeliest cause with its remedy, or all usual ones if too little is known of the run."""
        figures = self.memory.figures
        found = why(self._facts, rose="risen" in figures, rank=figures.get("rank")) if self._facts else None
        return f" Likeliest cause: {found.cause}; {found.remedy}." if found else f"\n{advice}"

    def _remember(self, metrics: Mapping[str, float]) -> None:
        """Keep the figures that scores and later figures are judged with."""
        figures, loss = self.memory.figures, metrics.get("loss", math.nan)
        if math.isfinite(loss):
            lowest = figures.get("lowest loss", math.inf)
            figures["loss"], figures["lowest loss"] = loss, min(loss, lowest)
            if loss < lowest:
                figures.pop("risen", None)  # what threw it off is made good
        if math.isfinite(norm := metrics.get("gradient_norm", math.nan)):
            figures["usual gradient norm"] = 0.9 * figures.get("usual gradient norm", norm) + 0.1 * norm
        if "effective_rank" in metrics:
            figures["rank"] = metrics["effective_rank"]

    def _rising(self, update: int, metrics: Mapping[str, float]) -> Finding | None:
        """A loss far above its lowest, long before it is a thousand times that of the start."""
        loss, figures = metrics.get("loss", math.nan), self.memory.figures
        lowest = max(figures.get("lowest loss", math.inf), _LOWEST)
        if not loss > _RISEN * lowest:
            return None
        figures["risen"] = float(update)
        usual = figures.get("usual gradient norm")
        before = "" if usual is None else f" (before it {usual:.2g})"
        return Finding(
            "rising loss",
            f"rising loss: {loss:.4g} nats per label at update {update}, {loss / lowest:.0f} times the lowest so far"
            f"{show_step(metrics)}{before}: the learning rate is too high, or rises too fast; lower "
            "--optimizer.learning_rate, lengthen --schedule.warmup, or set --optimizer.max_grad_norm 1",
        )

    def _collapsed(self, update: int, metrics: Mapping[str, float]) -> Finding | None:
        rank = metrics.get("effective_rank", math.inf)
        if not self.lasts("context vectors all alike", update, present=rank < COLLAPSED_RANK):
            return None
        return Finding(
            "context vectors all alike",
            f"context vectors all alike: their effective rank is {rank:.2f} at update {update}, so no output can "
            "depend on the audio: a collapsed --init, or a learning rate so high that it made them so; give another "
            "--init, or --optimizer.learning_rate three times lower",
        )

    def _one_label(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        share = scores.get("one_label_share", 0.0)
        alone = share >= _ONE_LABEL and scores.get("cer", 1.0) > 0.5
        if not self._stays("one label", update, present=alone):
            return None
        return Finding(
            "one label",
            f"one label: at update {update} {share:.1%} of the dev outputs hold one and the same label and nothing "
            f"else, {self._lasting}.{self._because(why_constant, _CONSTANT_ADVICE)}",
        )

    def _forgets(self, update: int, scores: Mapping[str, float]) -> Finding | None:
        """A dev error rate that rises, as a mean over scores, while the training loss falls."""
        figures, name = self.memory.figures, "cer" if self._words_are_long else "wer"
        rate, loss = scores.get(name, math.nan), figures.get("loss", math.nan)
        if not math.isfinite(rate) or not math.isfinite(loss) or update <= figures.get("scored", 0.0):
            return None
        recent = [figures[key] for key in map("score {}".format, range(_MEAN_OF - 1)) if key in figures]
        figures |= {f"score {i}": value for i, value in enumerate([rate, *recent][: _MEAN_OF - 1])}
        figures["scored"] = float(update)
        if len(recent) < _MEAN_OF - 1:
            return None
        mean = (rate + sum(recent)) / _MEAN_OF
        if mean <= figures.get("best mean", math.inf):
            figures |= {"best mean": mean, "best mean at": float(update), "loss at best mean": loss}
            return None
        best = figures["best mean"]
        if mean < max(_FORGOTTEN * best, best + _BECOMES_WORSE) or loss > _LEARNED * figures["loss at best mean"]:
            return None
        return Finding(
            "learned by heart",
            f"learned by heart: the dev {name.upper()}, a mean of {_MEAN_OF} scores, rose from {best:.1%} at update "
            f"{figures['best mean at']:.0f} to {mean:.1%} at update {update}, while the training loss fell from "
            f"{figures['loss at best mean']:.2g} to {loss:.2g}: the training set is learned by heart, or the encoder "
            "forgets; the best checkpoint is kept, and fewer --training.max_updates, a lower "
            "--optimizer.learning_rate, --augmentation, --dropout or more transcripts help",
        )


def _no_gradient(update: int, metrics: Mapping[str, float]) -> Finding | None:
    """A gradient that is zero: where the head has none, nothing below it has."""
    norm = metrics.get("gradient_norm", math.inf)
    if not norm <= _NO_GRADIENT or metrics.get("loss", 0.0) < _NO_GRADIENT:
        return None
    return Finding(
        "dead head",
        f"dead head: the gradient is zero at update {update}, so nothing learns: the head or what feeds it is "
        "saturated or disconnected (non-finite or enormous weights, arithmetic that underflows); begin again from an "
        "--init that is whole, with --training.precision fp32 and a lower --optimizer.learning_rate",
    )
