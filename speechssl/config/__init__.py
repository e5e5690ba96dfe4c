"""Every configuration of speechssl: each field documented, defaulted and limited in this one place.

The defaults are the published constants of wav2vec 2.0 base (Baevski et al. 2020, sections 3 and 4 and appendix A);
the recipes' ``conf/*.yaml`` hold what differs. Nothing here imports torch, so that ``--help`` answers at once.
"""
# ruff: noqa: F403

from speechssl.config.augmentation import *
from speechssl.config.decoding import *
from speechssl.config.embedding import *
from speechssl.config.model import *
from speechssl.config.objectives import *
from speechssl.config.probing import *
from speechssl.config.runs import *
from speechssl.config.shards import *
from speechssl.config.streams import *
from speechssl.config.targets import *
from speechssl.config.text import *
from speechssl.config.training import *
from speechssl.config.verbs import *
