"""What others counted on the published model (8 layers of 2048 neurons), to stand beside ours.

Rules and trees: "Automatically Finding Rule-Based Neurons in OthelloGPT", arXiv 2511.00059, and its code: trees of
depth 8 on 320 literals, 600 games, plies 5-30, with *positions*, not games, split into training and test. Pattern
neurons: "OthelloGPT learned a bag of heuristics" (2024), the output of its code. Ours are of another, smaller model:
these figures say what is possible, not what to expect.
"""

#: neurons of each layer, and those whose tree reaches R^2 > 0.7
NEURONS = 2048
TREE_EXPLAINED = (825, 233, 146, 204, 535, 903, 662, 239)
#: KL where a layer's explained neurons are replaced by their trees and the rest by their means; top-N legal accuracy
REPLACED_KL = (0.0034, 0.0080, 0.0070, 0.0071, 0.0083, 0.0121, 0.1428, 0.0995)
REPLACED_TOP_N = (0.9990, 0.9982, 0.9985, 0.9987, 0.9987, 0.9991, 0.9865, 0.9994)
#: KL where the whole layer is replaced by its means; top-N legal accuracy of the model as it is
MEAN_KL = (9.635, 0.0235, 0.0089, 0.0090, 0.0191, 0.0862, 0.5082, 0.2058)
CLEAN_TOP_N = 0.9996
#: neurons matching patterns at .95; patterns covered by L4-L6 at .9, of the 1036 that it counts
PATTERN_NEURONS = (2, 0, 1, 14, 107, 247, 152, 104)
PATTERNS_COVERED = 939
