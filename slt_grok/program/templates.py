"""The text of a written program: its docstring and its functions."""

DO = {
    "addition": ("add", "turn the hand of a forward by the angle of b: s = a + b"),
    "subtraction": ("subtract", "turn the hand of a back by the angle of b: s = a - b"),
    "multiplication": ("multiply", "add their logarithms, which are the numbers on these clocks: s = log a + log b"),
}

LOGARITHMS = """ORDER = {order}  # logarithms to base {root}
POWERS = [pow({root}, j, MODULUS) for j in range(ORDER)]
LOG = np.argsort([0, *POWERS])  # LOG[POWERS[j]] = j + 1, and LOG[0] = 0


"""

ANGLE = '''def angle(k, t):
    """The angle of number t on clock k."""
    return 2 * np.pi / {order} * (k * t % {order})
'''

ROTATIONS = '''
def logits(a, b):
    """Scores of all answers, for integer arrays a and b of one shape."""
{start}
    scores = 0.0
    for k, {amplitudes} in CLOCKS.items():
        scores = scores + {weight} * np.cos(angle(k, s - c))
    return {end}
'''

NEURONS = '''
def logits(a, b):
    """Scores of all answers, for integer arrays a and b of one shape."""
{start}
    hidden = np.zeros((*s.shape[:-1], WIDTH)) + CONSTANT
    parts = np.zeros((*s.shape[:-1], 2 * len(CLOCKS))) + SHIFT
    for i, k in enumerate(CLOCKS):
        own = CLOCK == i
        for (m, n), size, phase in zip(WAVES, AMPLITUDE[:, own], PHASE[:, own]):
            hidden[..., NEURON[own]] += size * np.cos(angle(k, m * x + n * y) + phase)
        for (m, n), past in zip(ONE_TOKEN, PAST[i]):
            parts += np.cos(angle(k, m * x + n * y)) * past[0] + np.sin(angle(k, m * x + n * y)) * past[1]
    parts += {activation} @ OUTPUT
    waves = np.concatenate([[np.cos(angle(k, c)), np.sin(angle(k, c))] for k in CLOCKS])
    scores = parts @ waves
    return {end}
'''

NUMBERS = '''
def numbers(text, scale=1):
    """Integers in text, times their unit."""
    return np.array(text.split(), dtype=int) * scale
'''

TABLE = '''
def answer(a, b):
    """The answer to a and b (integer arrays of equal shape)."""
    table = np.full(MODULUS**2, -1)
    table[np.cumsum(PAIRS)] = ANSWERS
    listed = table[(np.asarray(a) % MODULUS) * MODULUS + np.asarray(b) % MODULUS]
    return {answer}
'''

ANSWER = '''
def answer(a, b):
    """The answer to a and b (integer arrays of equal shape): the one with the largest score."""
    return logits(a, b).argmax(-1)
'''

OF_SUM = '''
def answer(a, b):
    """The answer to a and b (integer arrays of equal shape): the one with the largest score."""
    s = np.asarray(a) {sign} np.asarray(b)
    each, place = np.unique(s, return_inverse=True)  # one answer for all pairs with the same s
    return logits(each, 0).argmax(-1)[place].reshape(s.shape)
'''
