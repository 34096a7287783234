"""The one error users see: a sentence that names the argument, what came, what was expected and the way out."""


class OntogenyError(ValueError):
    """Bad input or an impossible request; the message is one plain sentence for the person who made the call."""


class NotFiniteError(OntogenyError):
    """The loss is NaN or infinite at w*, so that there is nothing to measure around it."""


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        OntogenyError: naming the argument.

    >>> check_whole("heads", True)
    Traceback (most recent call last):
    ontogeny.core.errors.OntogenyError: heads must be a whole number of at least 1; got True.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OntogenyError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def first_line(error: BaseException) -> str:
    r"""The first line of what an error says, without its full stop; its class where it says nothing.

    >>> first_line(ZeroDivisionError("of all things.\nand more")), first_line(IndexError())
    ('of all things', 'IndexError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def class_and_first_line(error: BaseException) -> str:
    r"""The same after the error's class.

    >>> class_and_first_line(ZeroDivisionError("of all things.\nand more")), class_and_first_line(IndexError())
    ('ZeroDivisionError: of all things', 'IndexError')
    """
    return type(error).__name__ + f": {first_line(error)}" * bool(str(error).strip())
