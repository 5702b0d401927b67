"""
Write a trunk
=============

The trunk is the part of the network that reads the spectrogram: it gives states, from which linear
heads make the embeddings. Beside those of the library, such as ``"blstm"``, there may be one of
your own: a class of about twenty lines, whose parameters are searched like all others.
"""

from matplotlib import pyplot as plt
from sklearn.model_selection import GridSearchCV
from torch import nn

from skdc import DeepClusteringSeparator, make_mixtures
from skdc.datasets import load_sample_clips
from skdc.network import Trunk, TrunkModule

# %%
# Convolutions over frames, each layer twice as far apart as the one before it, take the place of
# the LSTM. The settings are an estimator as scikit-learn knows them; ``build`` makes the module,
# which says how wide its states are and which bins share them: all of them here.


class Convolutions(Trunk):
    """Settings of a stack of dilated convolutions."""

    def __init__(self, kernel_size=3):
        self.kernel_size = kernel_size

    def build(self, n_bins, hidden_size, n_layers, bidirectional):
        """Make the module, for the sizes that the separator has."""
        if not bidirectional:
            raise ValueError("these convolutions look at later frames; set bidirectional=True")
        return ConvolutionStack(n_bins, hidden_size, n_layers, self.kernel_size)


class ConvolutionStack(TrunkModule):
    """The module: features in, states out."""

    def __init__(self, n_bins, hidden_size, n_layers, kernel_size):
        super().__init__()
        self.bands, self.width = ((0, n_bins),), hidden_size
        self.layers, n_inputs = nn.Sequential(), n_bins
        for layer in range(n_layers):
            options = {"dilation": 2**layer, "padding": "same"}
            self.layers.append(nn.Conv1d(n_inputs, hidden_size, kernel_size, **options))
            self.layers.append(nn.PReLU())
            n_inputs = hidden_size

    def forward(self, features, state=None):
        """Give a state for every frame."""
        # (mixtures, frames, bins) -> (mixtures, bins, frames) -> (mixtures, frames, width)
        states = self.layers(features.mT).mT
        # -> (mixtures, frames, bands, width); there is no state to go on with
        return states.unsqueeze(-2), None


# %%
# How many frames should a layer see? Cross-validation tells. The parameters of the trunk are
# reached by its name and two underscores.

clips = load_sample_clips()
X, y = make_mixtures(
    [clip.waveform for clip in clips],
    [clip.speaker for clip in clips],
    n_mixtures=16,
    n_samples=16000,
    random_state=0,
)
separator = DeepClusteringSeparator(
    trunk=Convolutions(),
    embedding_dim=10,
    hidden_size=64,
    n_layers=4,
    win_length=512,
    hop_length=256,
    batch_size=4,
    learning_rate=5e-3,
    max_epochs=16,
    random_state=0,
)
search = GridSearchCV(separator, {"trunk__kernel_size": [1, 3, 5]}, cv=2).fit(X, y)
print(f"best: {search.best_params_}, {search.best_score_:.2f} dB")

# %%
# With a kernel of 1 every frame is on its own. On so little speech the differences mean little;
# the search is the same with hours of it.
#
# Files written by ``save`` hold the name of a trunk, not its code.
# ``skdc.network.TRUNKS["convolutions"] = Convolutions`` gives this one a name; run it where
# the file is loaded, too.

sizes = [str(size) for size in search.cv_results_["param_trunk__kernel_size"]]
scores, spread = search.cv_results_["mean_test_score"], search.cv_results_["std_test_score"]

_, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
ax.errorbar(sizes, scores, yerr=spread, marker="o", capsize=4)
ax.set(xlabel="trunk__kernel_size", ylabel="SI-SDR improvement (dB)")
plt.show()
