"""Every configuration of speechssl: each field documented and defaulted in this one place.

The defaults are the published constants of wav2vec 2.0 base (Baevski et al. 2020, sections 3 and 4 and appendix A);
the recipes' ``conf/*.yaml`` hold what differs. This module imports no torch, so that ``--help`` answers at once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ConvLayer = tuple[int, int, int]
BASE_CONV_LAYERS: list[ConvLayer] = [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2


@dataclass
class FeatureEncoderConfig:
    """Convolutions from the waveform to frames (section 2, "Feature encoder")."""

    conv_layers: list[ConvLayer] = field(default_factory=lambda: list(BASE_CONV_LAYERS))
    """(channels, kernel, stride) of each convolution, first to last, kernel and stride of the first in samples."""
    first_layer: Literal["convolution", "log_mel"] = "convolution"
    """"convolution": learned from the waveform (as published); "log_mel": log energies in as many mel bands as the
    layer has channels, over windows of its kernel and stride, where audio is too little to learn such a thing from."""
    norm: Literal["group", "layer"] = "group"
    """"group": group norm per channel after the first convolution (base); "layer": layer norm after each (large)."""
    bias: bool = False
    """Whether the convolutions have a bias (only some published large models do)."""


@dataclass
class ContextConfig:
    """Transformer over the frames (section 2, "Contextualized representations")."""

    num_layers: int = 12
    """Transformer blocks."""
    dim: int = 768
    """Model dimension D."""
    ffn_dim: int = 3072
    """Inner dimension of the feed-forward blocks."""
    num_heads: int = 12
    """Attention heads; must divide dim."""
    norm_first: bool = False
    """Pre-norm blocks (large) instead of post-norm ones (base)."""
    pos_conv_kernel: int = 128
    """Kernel of the convolution that encodes relative position, in frames."""
    pos_conv_groups: int = 16
    """Groups of that convolution; must divide dim."""
    pos_conv_depth: int = 1
    """Such convolutions one after the other: one, with weight norm, as published; several, with layer norm each, as in
    data2vec (Baevski et al. 2022), which has 5 of kernel 19."""
    relative_bias: bool = False
    """Add a learned bias for the distance between two frames, gated by the first of them, to attention (WavLM, Chen et
    al. 2022, section III-B)."""
    num_buckets: int = 320
    """Buckets into which the relative bias sorts distances, both directions together; a multiple of 4. Distances below
    a quarter of this, in frames, have one each; beyond, buckets widen."""
    max_distance: int = 800
    """Frames from which on all distances have the same relative bias; more than a quarter of num_buckets."""
    squeeze: int = 1
    """Neighbouring frames that are averaged into one before the blocks and spread out behind them, after SEW (Wu et al.
    2022): 2 halves the blocks' cost. pos_conv_kernel then counts averaged frames; context vectors stay as many."""


@dataclass
class ModelConfig:
    """The encoder's architecture: all that decides the shape and meaning of its weights."""

    sample_rate: int = 16000
    """Samples per second that the encoder hears; shards of another rate are resampled when they are made."""
    normalize_audio: bool = False
    """Scale each utterance to zero mean and unit variance before the feature encoder (large models)."""
    feature_encoder: FeatureEncoderConfig = field(default_factory=FeatureEncoderConfig)
    """Convolutional feature encoder."""
    context: ContextConfig = field(default_factory=ContextConfig)
    """Transformer context network."""


@dataclass
class DropoutConfig:
    """Noise inside the network during training; none of it is part of the architecture."""

    features: float = 0.0
    """On the projected features that enter the context network."""
    quantizer_input: float = 0.0
    """On the features that enter the quantizer."""
    hidden: float = 0.1
    """After each attention and feed-forward block, and on the context network's input."""
    attention: float = 0.1
    """On attention weights."""
    activation: float = 0.0
    """Inside the feed-forward blocks, after the activation."""
    output: float = 0.0
    """On what enters each layer of the CTC head (fine-tuning)."""
    layer_drop: float = 0.05
    """Chance that an update skips a transformer block (LayerDrop, Fan et al. 2020)."""


@dataclass
class MaskingConfig:
    """Span masks (section 3.1 and appendix A of wav2vec 2.0; in fine-tuning a form of SpecAugment)."""

    time_prob: float = 0.65
    """Mask spans drawn per utterance, as frames covered if none overlapped, over all frames (0.65 masks about 49%)."""
    time_length: int = 10
    """Frames per time span."""
    min_time_spans: int = 2
    """Fewest time spans per utterance."""
    channel_prob: float = 0.0
    """The same share for spans of feature channels."""
    channel_length: int = 64
    """Channels per channel span."""


@dataclass
class QuantizerConfig:
    """Product quantizer with Gumbel softmax (section 2, "Quantization module")."""

    num_groups: int = 2
    """Codebook groups G."""
    num_entries: int = 320
    """Entries V per group."""
    dim: int = 256
    """Dimension of the concatenated code vector; num_groups must divide it."""
    temperature_start: float = 2.0
    """Gumbel temperature at update 0."""
    temperature_end: float = 0.5
    """Lowest Gumbel temperature."""
    temperature_decay: float = 0.999995
    """Factor on the temperature after every update."""


@dataclass
class ContrastiveConfig:
    """Contrastive task over quantized targets (section 3.2)."""

    name: Literal["contrastive"] = "contrastive"
    """Pretext task."""
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    """Quantizer of the targets (contrastive)."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    """Which frames are hidden from the context network."""
    final_dim: int = 256
    """Dimension in which contexts and targets are compared (contrastive)."""
    num_negatives: int = 100
    """Distractors per masked frame, drawn from the other masked frames of the same utterance (contrastive)."""
    temperature: float = 0.1
    """Divisor of the cosine similarities (kappa)."""
    diversity_weight: float = 0.1
    """Weight of the codebook diversity penalty, alpha (contrastive)."""
    feature_penalty: float = 10.0
    """Weight of the mean squared feature-encoder output."""
    feature_grad_scale: float = 0.1
    """Factor on the gradient that reaches the feature encoder."""

    @property
    def codebooks(self) -> list[int]:
        """Entries of each codebook of the targets."""
        return [self.quantizer.num_entries] * self.quantizer.num_groups


@dataclass
class UnitsConfig:
    """What masked prediction predicts: entries of codebooks, fitted before the first update (HuBERT, section II.A)."""

    features: Literal["log_mel", "layer"] = "log_mel"
    """What is told apart: log-mel energies of the audio that an encoder frame hears, or a layer of ``checkpoint``."""
    checkpoint: Path | None = None
    """Run or checkpoint of the encoder whose layer it is; it has to make frames as often."""
    layer: int = 0
    """Transformer block, from 1."""
    clustering: Literal["kmeans", "random_projection"] = "kmeans"
    """K-means of whitened principal components, or random entries after a random projection (BEST-RQ)."""
    num_entries: list[int] = field(default_factory=lambda: [100, 500])
    """Entries of each codebook."""
    dim: int = 64
    """Principal components, or dimension of the random projection."""
    fit_seconds: float = 3600.0
    """Audio that the codebooks are fitted to."""


@dataclass
class MaskedPredictionConfig:
    """Cross-entropy on the units of masked frames (HuBERT, section II.B)."""

    name: Literal["masked_prediction"] = "masked_prediction"
    """Pretext task."""
    units: UnitsConfig = field(default_factory=UnitsConfig)
    """What is predicted (masked_prediction)."""
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    """Which frames are hidden from the context network."""
    cosine_dim: int = 0
    """Dimension in which contexts and unit embeddings are compared by their cosine (256 in HuBERT); 0 for a linear head
    (masked_prediction)."""
    temperature: float = 0.1
    """Divisor of the cosine similarities."""
    unmasked_weight: float = 0.0
    """Weight of the same loss on frames that are not masked (masked_prediction)."""
    feature_penalty: float = 10.0
    """Weight of the mean squared feature-encoder output."""
    feature_grad_scale: float = 0.1
    """Factor on the gradient that reaches the feature encoder."""

    @property
    def codebooks(self) -> list[int]:
        """Entries of each codebook of the targets."""
        return list(self.units.num_entries)


AnyObjective = ContrastiveConfig | MaskedPredictionConfig


@dataclass
class ReverberationConfig:
    """Rooms: convolution with an impulse response; the direct path stays in place, the energy is kept."""

    prob: float = 0.0
    """Chance that a sample is reverberated."""
    shards: list[str] = field(default_factory=list)
    """Shards of impulse responses; without any, a response is decaying noise after a direct path (Polack 1988)."""
    rt60_seconds: tuple[float, float] = (0.2, 0.8)
    """Shortest and longest time in which such a response decays by 60 dB."""
    direct_to_reverberant_db: tuple[float, float] = (0.0, 12.0)
    """Lowest and highest energy of such a response's direct path over that of the rest, in dB."""


@dataclass
class NoiseConfig:
    """Noise under the whole sample."""

    prob: float = 0.0
    """Chance that a sample gets noise."""
    shards: list[str] = field(default_factory=list)
    """Shards of noise; without any, Gaussian noise of a drawn colour."""
    snr_db: tuple[float, float] = (0.0, 20.0)
    """Lowest and highest signal-to-noise ratio: the mean power of active speech over that of the added noise, in dB."""
    slope: tuple[float, float] = (0.0, 2.0)
    """Lowest and highest exponent of the noise of a drawn colour, whose power falls as 1/f**slope: 0 white, 1 pink."""


@dataclass
class SpeechMixingConfig:
    """Another utterance over a part of the sample (WavLM, Chen et al. 2022, section IV-B)."""

    prob: float = 0.0
    """Chance that a sample gets another voice (0.2 in WavLM)."""
    shards: list[str] = field(default_factory=list)
    """Shards of the other utterances; without any, those that are trained on."""
    snr_db: tuple[float, float] = (-5.0, 5.0)
    """Lowest and highest ratio of the mean powers of the two, each over its active speech, in dB."""
    max_share: float = 0.5
    """Longest overlap, as a share of the sample; more than half would leave open who is the speaker."""


@dataclass
class TelephoneConfig:
    """Telephone lines: 300 to 3400 Hz at 8 kHz, and back to the sample rate."""

    prob: float = 0.0
    """Chance that a sample passes through a line."""
    codings: list[Literal["pcm", "mulaw", "alaw", "gsm"]] = field(
        default_factory=lambda: ["pcm", "mulaw", "alaw", "gsm"]
    )
    """Codings to draw from: none ("pcm"), G.711 ("mulaw", "alaw"), GSM 06.10 full rate ("gsm")."""


@dataclass
class CodecConfig:
    """Lossy audio files: encoding and decoding."""

    prob: float = 0.0
    """Chance that a sample passes through a file."""
    codecs: list[Literal["mp3", "opus", "vorbis"]] = field(default_factory=lambda: ["mp3", "opus", "vorbis"])
    """Codecs to draw from."""
    quality: tuple[float, float] = (0.0, 0.3)
    """Lowest and highest quality, from 0, the smallest file, to 1; at 16 kHz, the default gives MP3 of 10 to 55 kbit/s,
    Opus of 10 to 86 and Vorbis of 30 to 33."""


@dataclass
class GainConfig:
    """Level of the recording."""

    prob: float = 0.0
    """Chance that the level is changed."""
    gain_db: tuple[float, float] = (-12.0, 6.0)
    """Lowest and highest gain in dB; what would exceed full scale is scaled down to it as a whole."""


@dataclass
class SpeedConfig:
    """Speed, tempo and pitch together (Ko et al. 2015); the only change of length."""

    prob: float = 0.0
    """Chance that the speed is changed."""
    factors: list[float] = field(default_factory=lambda: [0.9, 1.1])
    """Factors to draw from; above 1 is faster and shorter."""


@dataclass
class AugmentationConfig:
    """What happens to the audio before the model hears it, drawn for each sample, in this order; nothing by default."""

    speed: SpeedConfig = field(default_factory=SpeedConfig)
    """Speed."""
    reverberation: ReverberationConfig = field(default_factory=ReverberationConfig)
    """Rooms."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise."""
    speech: SpeechMixingConfig = field(default_factory=SpeechMixingConfig)
    """Other voices."""
    telephone: TelephoneConfig = field(default_factory=TelephoneConfig)
    """Telephone lines."""
    codec: CodecConfig = field(default_factory=CodecConfig)
    """Lossy audio files."""
    gain: GainConfig = field(default_factory=GainConfig)
    """Level."""


@dataclass
class StreamConfig:
    """Which shards are read, and how their samples become batches."""

    shards: list[str] = field(default_factory=list)
    """Shard files, folders of shards, or globs; from elsewhere https://, s3://, gs:// and hf:// addresses of shards, in
    braces (shard-{000000..000099}.tar), or of folders, with a slash at the end. Several are read as
    one corpus."""
    num_streams: int = 1
    """Micro-batches per update, one from each logical stream; processes share them without changing the results."""
    max_batch_seconds: float = 87.5
    """Padded audio per micro-batch and stream, in seconds."""
    min_seconds: float = 0.0
    """Samples shorter than this are left out, and counted in the log."""
    max_seconds: float = 20.0
    """Longer samples: cropped in pretraining, left out and counted in fine-tuning."""
    num_workers: int = 1
    """Threads that read and decode ahead; 0 reads in the training thread."""
    shuffle_hours: float = 8.0
    """Order and batches are drawn within windows of this much of a stream's audio, so that it reads few shards."""
    max_bad_share: float = 0.0
    """Damaged samples that are left out and counted before the run stops, as a share of all; 0 stops at the first."""
    source_weights: list[float] = field(default_factory=list)
    """Makes each entry of shards a source of its own; one number each, in proportion to its share of the batches."""
    source_temperature: float = 0.0
    """The same, with shares in proportion to each source's hours to the power of 1 / temperature: 1 keeps their
    proportions, more evens them out; 0 makes one corpus of all."""
    cache: Path | None = None
    """Folder for copies of shards from elsewhere; $XDG_CACHE_HOME/speechssl/shards or that in ~/.cache if absent."""
    cache_gigabytes: float = 100.0
    """Limit on that folder, which only a single larger shard exceeds; what was used longest ago goes first. Every
    stream needs room for two of its windows, or shards in use are fetched again and again."""


@dataclass
class EvaluationSetConfig:
    """Shards that are scored, not learned from."""

    shards: list[str] = field(default_factory=list)
    """Shard files, folders of shards, globs, or addresses, as in training. Several are read as one corpus."""
    max_batch_seconds: float = 80.0
    """Padded audio per batch, in seconds; the scores do not depend on it."""
    cache: Path | None = None
    """Folder for copies of shards from elsewhere; if absent, that of the training data, or else the usual one."""
    cache_gigabytes: float | None = None
    """Limit on that folder; if absent, that of the training data, or else 100."""


@dataclass
class OptimizerConfig:
    """AdamW."""

    learning_rate: float = 5e-4
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of the first and second moment."""
    eps: float = 1e-6
    """Added to the root of the second moment."""
    weight_decay: float = 0.01
    """Decoupled weight decay; not applied to biases and norms."""
    max_grad_norm: float = 0.0
    """Gradients of a larger norm are scaled down to it; 0 never scales."""


@dataclass
class ScheduleConfig:
    """Learning rate over the updates: a rise, a hold and a decay, as shares of training.max_updates."""

    warmup: float = 0.08
    """Share of updates with a linearly rising rate (32k of 400k as published)."""
    hold: float = 0.0
    """Share of updates at the peak rate."""
    decay: Literal["linear", "exponential", "none"] = "linear"
    """Shape of the fall over the remaining updates; tri-stage fine-tuning decays exponentially."""
    final_scale: float = 0.0
    """Share of the peak rate that is left at the end (0.05 in tri-stage fine-tuning)."""


@dataclass
class TrainingConfig:
    """The loop."""

    max_updates: int = 400_000
    """Optimiser updates."""
    checkpoint_every: int = 5_000
    """Updates between checkpoints; the last update always makes one."""
    keep_checkpoints: int = 2
    """Newest checkpoints kept; the best of fine-tuning is kept besides."""
    log_every: int = 50
    """Updates between lines of the run log; figures are means over them."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of matrix products: bf16 autocast, or fp32; "auto" is bf16 where the hardware has it."""
    seed: int = 0
    """Seeds weights, order, crops, masks, negatives and dropout."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""
    devices: int | Literal["auto"] = 1
    """Processes on this machine, one per device, which share the streams without changing what is learned; "auto": one
    for each GPU, or CPU core, as far as they divide num_streams."""
    num_nodes: int | Literal["auto"] = "auto"
    """Machines; "auto": those on which torchrun, SLURM or another launcher has started processes, else this one."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """What several processes keep: "ddp", the whole model each; "fsdp", a part of its weights, gradients and optimiser
    state each, for models that do not fit one device; "auto": ddp. What is learned does not depend on it."""
    gradient_bucket_megabytes: float = 25.0
    """Gradients that ddp gathers before it sends them, in 2**20 bytes of float32. All buckets but the last travel while
    the backward pass goes on: smaller ones leave less to wait for at its end, larger ones have fewer delays. What is
    learned does not depend on it. fsdp sends each transformer block by itself and has no use for it."""
    reduce_in_bf16: bool = False
    """Send gradients between processes in bf16: half their traffic, for slow links; fsdp still sends weights round in
    float32. A process sums its own in float32; what it sends, and the sum over processes, is rounded to 8 significant
    bits, so several processes learn what one does to that accuracy only. One process sends and rounds nothing. A run
    may be resumed with another value."""
    compile: bool = False
    """Compile the model into one graph (torch.compile): minutes at the start, for faster updates on GPUs. On CPUs it
    does not pay. Noise inside the network is drawn otherwise; a block that layer drop skips is computed and left, and
    its weights still decay."""
    recompute: Literal["none", "context", "all"] = "none"
    """Activations that the backward pass computes again instead of keeping them: those inside the transformer blocks
    ("context"), or in the convolutions too ("all"). Less memory, a quarter to a third more time, the same results."""
    num_threads: int = 0
    """Threads of each process on a CPU; 0 leaves it to PyTorch, which takes all cores or shares them among the
    processes. Small models are fastest on one."""


@dataclass
class HealthConfig:
    """When a run is named unhealthy."""

    on_failure: Literal["stop", "warn"] = "stop"
    """"stop" ends the run with exit status 3 and keeps the checkpoint from before; "warn" goes on."""
    patience_updates: int = 5_000
    """Updates a pretraining run may stay at chance, or its codebook collapsed, before it is named; and a fine-tuning,
    after its warm-up and frozen updates, with empty dev outputs or a dev WER of 100%."""
    min_accuracy_over_chance: float = 2.0
    """Accuracy of the pretext task, as a multiple of chance, below which a run is "at chance"; where chance is high,
    errors fewer by this factor are enough."""
    min_perplexity_share: float = 0.05
    """Perplexity of the targets' codes, as a share of the entries of a codebook, below which it is "collapsed"."""


@dataclass
class PretrainConfig:
    """Pretrain an encoder on untranscribed audio."""

    output: Path = Path("exp/pretrain")
    """Folder of the run: checkpoints, logs, resolved configuration. An unfinished run in it is resumed."""
    data: StreamConfig = field(default_factory=lambda: StreamConfig(max_seconds=15.6, num_streams=64))
    """Untranscribed audio."""
    dev: EvaluationSetConfig = field(default_factory=EvaluationSetConfig)
    """Held-out audio on which the pretext task is scored at every checkpoint, within the limits on length of data; none
    if it names no shards."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder."""
    init: Path | None = None
    """Pretraining run or checkpoint, imported ones too, that goes on on this data with a fresh schedule. It brings its
    model and quantizer or units, and the dev set is scored before the first update too: that of the old data shows what
    is forgotten."""
    objective: AnyObjective = field(default_factory=ContrastiveConfig)
    """Pretext task; ``name`` says which, and which keys there are."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """What happens to the audio that the context network hears; the targets come from it as it was (denoising)."""
    dropout: DropoutConfig = field(default_factory=lambda: DropoutConfig(features=0.1, quantizer_input=0.1))
    """Noise inside the network."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimiser."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Learning-rate schedule."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Training loop."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """Watch over collapse and stagnation."""


@dataclass
class HeadConfig:
    """From context vectors to labels."""

    normalize_context: bool = False
    """Give each dimension of the context vectors zero mean and unit variance over the utterance before the head."""
    num_lstm_layers: int = 0
    """Bidirectional LSTM layers before the linear one: none as published; SUPERB (Yang et al. 2021) puts 2 recurrent
    layers on a frozen encoder."""
    lstm_dim: int = 128
    """Units per direction of an LSTM layer."""


@dataclass
class FinetuneConfig:
    """Fine-tune an encoder with a CTC head on transcribed audio; without init, train the same model from scratch."""

    output: Path = Path("exp/finetune")
    """Folder of the run: checkpoints, logs, resolved configuration. An unfinished run in it is resumed."""
    init: Path | None = None
    """Pretraining run or checkpoint to start from; its architecture is used. Without it the weights are random."""
    train: StreamConfig = field(default_factory=StreamConfig)
    """Transcribed audio to learn from."""
    dev: EvaluationSetConfig = field(default_factory=EvaluationSetConfig)
    """Transcribed audio whose word error rate chooses the checkpoint; the same set throughout a run."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder of a run from scratch; with init it must be absent or equal to the checkpoint's."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """CTC head."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """What happens to the audio in training."""
    masking: MaskingConfig = field(default_factory=lambda: MaskingConfig(channel_prob=0.25))
    """Time and channel masks on the features."""
    dropout: DropoutConfig = field(default_factory=lambda: DropoutConfig(activation=0.1))
    """Noise inside the network."""
    freeze_feature_encoder: Literal["auto", "always", "never"] = "auto"
    """Keep the convolutions as they are; "auto" freezes them if they come from init."""
    freeze_context_updates: int = 10_000
    """Updates in which only the CTC head learns, if there is an init."""
    head_learning_rate_scale: float = 1.0
    """Factor on the learning rate of the CTC head."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=5e-5, eps=1e-8, weight_decay=0.0)
    )
    """Optimiser."""
    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(warmup=0.1, hold=0.4, decay="exponential", final_scale=0.05)
    )
    """Learning-rate schedule, tri-stage by default."""
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(max_updates=12_000, checkpoint_every=1_000))
    """Training loop; the dev set is scored at every checkpoint."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """Watch over a loss that is not finite or explodes, and over outputs that stay empty or wrong."""


@dataclass
class SegmentationConfig:
    """Cut long recordings into segments of speech."""

    method: Literal["auto", "silero", "energy", "none"] = "auto"
    """How speech is found. "silero": the network of the package silero-vad; "energy": sound that rises above the noise
    floor, music and slamming doors included; "auto": silero where it is installed, else energy; "none": it is not, and
    recordings are cut into pieces of max_seconds."""
    threshold: float = 0.5
    """Speech reaches this, and lasts for as long as it is not below 0.7 of it. silero: probability of speech, 0 to 1;
    energy: level above the noise floor, of which 1 is 12 dB."""
    min_speech_seconds: float = 0.25
    """Less speech than this between two pauses is taken for noise."""
    min_silence_seconds: float = 0.5
    """Shorter pauses do not end a segment."""
    padding_seconds: float = 0.2
    """Margin that is kept before and after the speech of a segment; two segments share the pause between them."""
    max_seconds: float = 15.0
    """Longest segment, margins included; longer speech is cut where it is quietest in the last third of these."""
    min_seconds: float = 1.0
    """Shortest segment, margins included, at most a third of max_seconds: a shorter one joins the one before or after
    it if they are no further apart than this, else it is dropped and counted."""


@dataclass
class ShardConfig:
    """Turn audio of any kind, and its transcripts, into verified webdataset shards with an index."""

    sources: list[str]
    """Folders of audio, quoted globs, audio files, lists (tables, JSON, those of NeMo, SpeechBrain, Kaldi, fairseq and
    lhotse), LibriSpeech or Common Voice folders, webdataset tars. Lists have columns path and, where known, text,
    speaker, language, id, split, start, end, duration, channel, or other names that are usual for them."""
    output: Path
    """Folder of the shards. A finished set is left alone if it was made from the same sources and options; an
    unfinished one goes on."""
    sample_rate: int = 16000
    """Samples per second in the shards; other rates are resampled by soxr."""
    format: Literal["flac", "opus", "wav"] = "flac"
    """Encoding in the shards: 16 bit without loss ("flac", "wav"), or a tenth of the size ("opus")."""
    max_shard_megabytes: float = 256.0
    """Size at which a shard is closed, estimated from the lengths of its recordings."""
    min_seconds: float = 0.0
    """Shorter recordings are left out and counted."""
    max_seconds: float = 3600.0
    """Longer recordings are left out and counted, unless they are cut."""
    cut_above_seconds: float = 30.0
    """Recordings without transcript that are longer than this are cut at pauses."""
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    """How they are cut."""
    require_text: bool = False
    """Leave out and count recordings without a transcript."""
    text_case: Literal["upper", "lower", "keep"] = "upper"
    """Case of the stored transcripts."""
    deduplicate: bool = True
    """Leave out and count recordings whose audio is that of another one, sample for sample."""
    min_level_db: float = -90.0
    """Quieter recordings (mean level, dB below full scale) are left out and counted; silent ones always are."""
    max_clipped_share: float = 1.0
    """Recordings with a larger share of samples at full scale are left out and counted."""
    max_bad_share: float = 0.5
    """Largest share of the recordings that may be damaged, missing or wrongly listed; up to it they are left out, named
    and counted, beyond it nothing is made. What options leave out does not count."""
    channel: Literal["mix", "each"] | int = "mix"
    """Of recordings of several channels: their mean, a recording of each, or one of them, counted from 0. A column
    channel of a list goes first."""
    split: Literal["none", "source", "draw"] = "none"
    """"source": a folder per part that the sources name (Common Voice, LibriSpeech, a column split); "draw": folders
    train, dev and test, by speaker, or by recording where the speaker is not known."""
    dev_share: float = 0.05
    """Share of the audio for dev, if the split is drawn."""
    test_share: float = 0.05
    """Share of the audio for test, if the split is drawn."""
    split_seed: int = 0
    """Seed of the split."""
    engine: Literal["local", "ray"] = "local"
    """Where the work is done: processes of this machine, or the tasks of a Ray cluster (extra speechssl[ray]), whose
    machines must see the sources and the output under the same paths."""
    num_workers: int = 0
    """Processes, or Ray tasks at a time; 0: as many as there are cores."""


@dataclass
class GreedyConfig:
    """Decoding by the best label of each frame."""

    name: Literal["greedy"] = "greedy"
    """Decoder."""


@dataclass
class EvaluateConfig:
    """Transcribe shards with a fine-tuned model and report its error rates with intervals."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    data: EvaluationSetConfig
    """Transcribed audio."""
    output: Path
    """Folder for hypotheses.jsonl and metrics.json; an evaluation of the same weights and data in it is left alone."""
    bootstrap_samples: int = 10_000
    """Resamples behind the 95% interval: of speakers if the shards know all, and at least 10; else of utterances."""
    decoding: GreedyConfig = field(default_factory=GreedyConfig)
    """How transcripts are found in what the model gives."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Arithmetic of matrix products."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""


@dataclass
class TranscribeConfig:
    """Transcribe audio files of any format, rate and channel count."""

    checkpoint: Path
    """Fine-tuning run folder (its best checkpoint) or one checkpoint."""
    audio: list[Path]
    """Audio files, or folders of them: after CHECKPOINT, or as --audio FILE ..."""
    output: Path | None = None
    """File for the result; standard output if absent."""
    format: Literal["text", "jsonl"] = "text"
    """"text": path, a tab and the transcript per line; "jsonl": with seconds and confidence."""
    max_batch_seconds: float | None = None
    """Padded audio per batch, in seconds; absent: 80, and 40 on a CPU, which takes less memory and as much time."""
    window_seconds: float = 30.0
    """A longer recording is heard in windows of this length, so that memory does not grow with it."""
    margin_seconds: float = 3.0
    """Neighbouring windows overlap by twice this much: at each side, what is heard for the sake of the rest alone."""
    decoding: GreedyConfig = field(default_factory=GreedyConfig)
    """How transcripts are found in what the model gives."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device kind."""


@dataclass
class ReportConfig:
    """Gather what the arms of a recipe wrote, or a single run, into results.json, a table and plots."""

    experiment: Path
    """Folder of the recipe's outputs, or of one run of pretraining or fine-tuning; results.json and the plots go to its
    top."""
    recipe: str = ""
    """Name of the recipe in the records; that of the folder if absent."""


@dataclass
class PlanConfig:
    """Say what a pretraining run would take on this machine and on others, from a probe of half a minute."""

    pretraining: Path
    """Configuration of the run, as for `speechssl pretrain --config`."""
    shards: list[str]
    """Shards that it would learn from."""
    probe_seconds: float = 30.0
    """Time for trying batches of several sizes, in seconds."""
    update_hours: float = 0.0
    """Audio of an update that is kept whatever the size of the micro-batches, in hours (1.56 as published for base); 0:
    that of the configuration."""
    devices: list[int] = field(default_factory=list)
    """Numbers of devices to plan for, as if each were like those here; those of the configuration if none is given."""
    price_per_hour: float = 0.0
    """Of one device, in any currency; 0 tells no cost."""
    link_gigabytes_per_second: float = 0.0
    """Between devices, each way; with it the exchange of gradients is counted. 0: as if it were free."""
    output: Path | None = None
    """JSON file for the figures."""


@dataclass
class VerifyConfig:
    """Prove that shards and their indexes are whole, or say what is wrong with which sample."""

    shards: list[str]
    """Shard files, folders of shards, or globs: of one sample rate, with each key once in a folder."""
    decode: bool = True
    """Decode every sample. Without it damaged audio shows only where an index has the checksum of what it was."""
    write_index: bool = False
    """Write the missing or stale indexes of shards that are otherwise sound, shards made elsewhere among them. Decodes
    in any case."""
    report: Path | None = None
    """JSON file for all findings."""
    num_workers: int = 0
    """Processes; 0: one per core."""


@dataclass
class ImportConfig:
    """Make a checkpoint of a model from elsewhere, and prove that it computes the same."""

    checkpoint: Path
    """Hugging Face folder of a wav2vec 2.0, HuBERT, WavLM or data2vec-audio model; torchaudio:NAME for a pipeline of
    torchaudio's (such as torchaudio:WAV2VEC2_ASR_BASE_960H); a torchaudio state dict (.pt, .pth) or the folder of an
    export to torchaudio; a checkpoint of fairseq's or Microsoft's WavLM (.pt). Nothing in a file is executed."""
    output: Path
    """Folder for the checkpoint, which --init, evaluate and transcribe take; it must not exist yet."""
    labels: Path | None = None
    """Labels of a recogniser whose file has none (torchaudio state dicts, old fairseq checkpoints): one per line in the
    order of the outputs, the first being CTC's blank unless one is called <blank>; a vocab.json; or fairseq's
    dict.ltr.txt."""
    model: ModelConfig | None = None
    """Architecture, for torchaudio state dicts of other shapes than the published ones, which do not tell strides,
    heads or order of norms, and for fairseq checkpoints without their configuration."""
    audio: Path | None = None
    """Recording that both sides hear in the proof, its first 20 seconds; without one they hear a made voice."""
    tolerance: float = 1e-4
    """Largest difference at any stage, as a share of the stage's largest value, that counts as rounding."""
    proof: bool = True
    """Run both sides and compare every stage; what differs is not written."""


@dataclass
class ExportConfig:
    """Hand a checkpoint on in a format that others load, and prove that it computes the same there."""

    checkpoint: Path
    """Run folder (its best checkpoint, or else its newest) or one checkpoint."""
    output: Path
    """Folder for the model; it must not exist yet."""
    to: Literal["huggingface", "torchaudio", "onnx", "torch"] = "huggingface"
    """"huggingface": a folder for from_pretrained, with a model card; "torchaudio": a state dict with the arguments of
    torchaudio.models, and the labels; "onnx": a graph for onnxruntime, in float32 and with int8 linear layers (extra
    speechssl[onnx]); "torch": a program of torch.export. The last two take any model, with its labels beside it."""
    evaluations: list[Path] = field(default_factory=list)
    """Folders of `speechssl evaluate` whose error rates the model card reports; if absent, those in the run folder."""
    license: str = ""
    """Licence of the weights for the model card, as in "apache-2.0"; yours to choose."""
    audio: Path | None = None
    """Recording that both sides hear in the proof, its first 20 seconds; without one they hear a made voice."""
    tolerance: float = 1e-4
    """Largest difference at any stage, as a share of the stage's largest value, that counts as rounding."""
    proof: bool = True
    """Run both sides and compare every stage; what differs is not written."""
