"""What can be pickled."""

import pickle


def is_picklable(obj: object) -> bool:
    """Say whether `pickle` takes an object, by pickling it.

    >>> is_picklable([1, 2]), is_picklable(lambda: 1)
    (True, False)
    """
    try:
        pickle.dumps(obj)
    except (pickle.PickleError, AttributeError, RuntimeError, TypeError):
        return False
    return True
