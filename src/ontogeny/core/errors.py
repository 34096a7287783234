"""The one error users see: a sentence that names the argument, what came, what was expected and the way out."""


class OntogenyError(ValueError):
    """Bad input or an impossible request; the message is one plain sentence for the person who made the call."""
